"""Journals of runs on the fake VM, in memory."""

from attrs import define, evolve, field

from planner.compile.plan_text import plan_to_plain
from planner.model.facts_text import facts_to_plain
from planner.run.journal import Header, journal_line
from planner.run.observation import baseline_of
from planner.run.outcome import Outcome
from planner.run.recorder import Recorder
from planner.save.save_machine import SaveMachine
from tests.unit.build import facts, plan, qcow2, whole
from tests.unit.fake_vm import FakeVm, named_images


@define
class Memory:
    """A `planner.run.ports.JournalStore` in memory."""

    lines: list = field(factory=list)

    def append(self, line, *, lasting):
        del lasting
        self.lines.append(line)


def header_of(made, vm):
    return Header(
        "r", "0", "/qmp", "u", "", "1", "b", 1, plan_to_plain(made),
        facts_to_plain(evolve(vm, schema=())), baseline_of(vm),
    )  # fmt: skip


def recorded(design, *strikes):
    """A run on the fake VM: its journal's lines, its machine and its outcome."""
    vm_facts = named_images(facts(qcow2("disk0"), qcow2("disk1"), vm_uuid="u"))
    made = plan(design, vm_facts, whole("disk0", "disk1"))
    vm = FakeVm.of(vm_facts, *strikes)
    memory = Memory([journal_line(0, header_of(made, vm_facts))])
    recorder, machine = Recorder(memory), SaveMachine.of(made.program, baseline_of(vm_facts))
    action = machine.start()
    while not isinstance(action, Outcome):
        recorder.before(action, forward=True)
        response = vm.answer(action)
        events = vm.take_events()
        recorder.after(action, response, events, interrupted=False)
        action = machine.tell(response, events)
    return memory.lines, machine, action


def recorded_run(design, *strikes):
    return "".join(recorded(design, *strikes)[0])
