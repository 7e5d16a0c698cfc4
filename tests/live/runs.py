"""Running plans on a VM of the harness, through the library and through the command line."""

import asyncio
import json

from attrs import define, field

from backends.qemu import connect
from planner.compile.plan import compile_request
from planner.model.request_text import read_request
from planner.run.pump import HostClock, Pump, ask_facts
from planner.save.save_machine import SaveMachine
from tests.support import forked

SNAPPLAN = forked.SNAPPLAN


def request_text(tag, disks, vmstate="", **more):
    """A request for internal parts on these disks, and the others left out."""
    state = f"{{internal: {vmstate}}}" if vmstate else "none"
    wishes = ", ".join(f"{name}: internal" for name in disks)
    lines = [f"tag: {tag}", f"machine-state: {state}", f"disks: {{{wishes}}}"]
    more.setdefault("others", "exclude")
    return "\n".join(
        [*lines, *(f"{key.replace('_', '-')}: {value}" for key, value in more.items())]
    )


@define
class AtStep:
    """A reporter that does something just before a step is sent."""

    number: int = 0
    action: object = None
    notes: list = field(factory=list)
    seen: list = field(factory=list)

    def step(self, number, count, what):
        del count
        self.seen.append(what)
        if number == self.number:
            self.action()

    def note(self, text):
        self.notes.append(text)

    def amount(self, amount):
        """How far it is concerns nobody here."""


def run_library(vm, text, design="auto", reporter=None, deadline_s=None):
    """Compile and run; the reporter's `action` may use `vm.link`, the backend of the run.

    Returns:
        The plan and the outcome.
    """

    async def work():
        link = await connect(str(vm.qmp_path))
        vm.link = link
        try:
            facts = await ask_facts(link)
            plan = compile_request(read_request(text), facts, design)
            pump = Pump(
                SaveMachine.on(plan.program, facts, deadline_s),
                link,
                images=link.images,
                clock=HostClock(),
                reporter=reporter,
            )
            vm.pump = pump
            return plan, await pump.run()
        finally:
            await link.close()

    return asyncio.run(work())


def cut(vm):
    """End the run's connection under it, as a network or a careless user would."""
    vm.link._client._writer.transport.abort()


def snapplan(*arguments, text=""):
    """Run the command line with this standard input; the result has stdout and stderr as text."""
    return forked.run_snapplan(*arguments, text=text)


def held(vm, disks):
    """By disk, the tags that it holds, asked of the VM by the test's own client."""
    return {disk: vm.tags(image_node(vm, disk)) for disk in disks}


def image_node(vm, disk):
    """The live name of a disk's qcow2 node."""
    spec = vm.topology.disk(disk)
    return spec.format_node if spec.format_node != disk else vm.node_of(disk)


def as_json(done):
    """The JSON that a command printed."""
    return json.loads(done.stdout)
