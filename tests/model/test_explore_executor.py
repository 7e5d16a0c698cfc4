"""The explorer's client is the executor: whatever the executor comes to, the explorer has seen.

The executor runs against the semantics, each single fault at every command and place; how it ends is
looked up among the explorer's ends.
"""

import asyncio
from pathlib import Path

import pytest

from planner.compare.rehearsal import StepFault, rehearse
from planner.compile.plan import compile_request
from planner.explore.layers import own_parts
from planner.explore.moves import Moves, Reductions
from planner.explore.search import explore
from planner.explore.setting_of import instructions_of, setting_of
from planner.explore.state import ClientPhase
from planner.model.facts_text import read_facts
from planner.model.request_text import read_request
from planner.program.program import Target
from planner.run.phases import Phase
from planner.run.pump import Pump, ask_facts
from planner.save.save_machine import SaveMachine
from planner.semantics import vm_state
from planner.semantics.construct import DiskDescription
from tests.crash.faulty_vm import Fault as Strike
from tests.crash.faulty_vm import FaultyVm

KINDS = (
    "refuse",
    "micro-step",
    "drop-before",
    "drop-after",
    "die-before",
    "die-inside",
    "die-after",
)
DISKS = ("disk0", "disk1", "disk2")
TEXT = "tag: new\nmachine-state: {internal: disk0}\ndisks: {disk0: internal}\nothers: internal\n"


def run_executor(design, faults):
    vm = FaultyVm(vm_state("7.2", [DiskDescription(name) for name in DISKS]), "new", faults)

    async def run():
        facts = await ask_facts(vm)
        program = compile_request(read_request(TEXT), facts, design).program
        vm.armed = True
        return (
            facts,
            program,
            await Pump(SaveMachine.on(program, facts), vm, images=vm, clock=vm).run(),
        )

    return vm, *asyncio.run(run())


def executor_ends(design):
    """(phase, disks with a part, guest runs, QEMU is dead) of every run with a single fault."""
    ends = set()
    for kind in KINDS:
        for command in range(16):
            for place in range(8 if kind in ("micro-step", "die-inside") else 1):
                vm, _, _, outcome = run_executor(design, [Strike(kind, command, place)])
                parts = tuple(
                    name
                    for name in DISKS
                    if any(s.name == "new" for s in vm.state.graph.node(name).layer.snapshots)
                )
                dead = bool(vm.state.died)
                ends.add((outcome.phase, parts, vm.state.running and not dead, dead))
    return ends


def explorer_ends(design):
    """The same of every end that the explorer reaches with one fault at most."""
    _, facts, program, _ = run_executor(design, [])
    setting = setting_of(program.resolution, instructions_of(program), design, facts, faults=1)
    moves = Moves(setting, Reductions.none())
    words = {
        ClientPhase.DONE: Phase.DONE,
        ClientPhase.UNDONE: Phase.UNDONE,
        ClientPhase.INCOMPLETE: Phase.INCOMPLETE,
    }
    seen, waiting, ends = {moves.start()}, [moves.start()], set()
    while waiting:
        state = waiting.pop()
        if ClientPhase(state.phase).ended:
            parts = tuple(
                name
                for name, number in zip(setting.disks, state.layers, strict=True)
                if own_parts(moves.layers[number])
            )
            ends.add((words[state.phase], parts, state.running and not state.dead, state.dead))
        for _, after in moves.of(state):
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return ends


@pytest.mark.parametrize(
    ("capture", "design"), [("stopped", "external"), ("live", "live"), ("background", "background")]
)
def test_executor_undoes_external_parts_wherever_the_explorer_says_that_it_can(capture, design):
    """Each step failed, and each reply lost: nothing is left, and nothing else is an end of any run."""
    room = Path("specs/examples/explore")
    facts = read_facts((room / "mixed.facts.json").read_text())
    request = read_request((room / f"mixed-{capture}.yaml").read_text())
    program = compile_request(request, facts, design).program
    setting = setting_of(program.resolution, instructions_of(program), design, facts, faults=1)
    report = explore(setting)
    assert report.violated == ()
    assert {name for name, _ in report.ends} == {"QEMU dead", "done", "undone"}
    for number, step in enumerate(program.steps, start=1):
        for fault in [StepFault.FAILS] if step.target is Target.HOST else list(StepFault):
            outcome = rehearse(program, facts, number, fault).outcome
            assert (outcome.phase, outcome.left) == (Phase.UNDONE, ()), (number, fault)


@pytest.mark.sample(1)
@pytest.mark.parametrize("design", ["monolithic", "transactional"])
def test_however_the_executor_ends_the_explorer_has_seen(design):
    """Every single fault, at every command and inside it, ends in one of the explorer's ends."""
    known = explorer_ends(design)
    for end in executor_ends(design) - known:
        phase, parts, running, dead = end
        # after its last command the executor still looks, and can be struck there: what it undoes
        # then is a whole snapshot, which the explorer calls done
        assert (phase, parts) == (Phase.UNDONE, ()), end
        assert dead or running, end
