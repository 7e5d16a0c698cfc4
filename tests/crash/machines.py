"""Runs of the machines of `load` and `delete` on a simulated VM, killed and gone on with anywhere.

A killed snapplan is a machine that is told no more.  What goes on is a new one of the same order, told
what the old one was told; an action that had begun, and whose answer nobody got, is answered with
`NoAnswer`, as a journal's replay does.

``SNAPPLAN_CRASH_STRIDE`` (1 for all): at each so many-th action is a run killed that met a fault, too.
"""

import asyncio
import itertools
import os

from attrs import define, field

from planner.inspect.verifying import ask_images
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.part_image import images_of_vm
from planner.run.actions import AwaitEvent, ListImage, NoAnswer, Reconnect, Send, Tell
from planner.run.outcome import Outcome
from planner.run.pump import Pump, ask_facts
from planner.semantics import content_node, execute, guest_step, lookup
from planner.semantics.construct import DiskDescription, vm_state
from tests.crash.faulty_vm import FaultyVm

TAG = "new"
STRIDE = int(os.environ.get("SNAPPLAN_CRASH_STRIDE", "6"))
KILLED = NoAnswer("snapplan was killed", lost=True)


_offsets = itertools.count()


def some(count):
    """Each so many-th number, from another one at each call."""
    return range(next(_offsets) % STRIDE, count, STRIDE)


def changes_something(action):
    if isinstance(action, Send):
        return not action.command.startswith("query-")
    return not isinstance(action, AwaitEvent | ListImage | Reconnect | Tell)


def make_vm(disks=("qcow2", "qcow2"), run_state="running", version="7.2", vmstate=0):
    """A VM that holds a snapshot of all its disks, and whose guest went on; and its manifest."""
    described = [DiskDescription(f"disk{n}", kind) for n, kind in enumerate(disks)]
    vm = FaultyVm(vm_state(version, described), TAG)
    nodes = [image_node(vm, disk.name).name for disk in described]
    arguments = {"job-id": "j", "tag": TAG, "devices": nodes, "vmstate": nodes[vmstate]}
    act(vm, "snapshot-save", arguments)
    act(vm, "job-dismiss", {"id": "j"})
    for _ in range(len(nodes) * 3):
        vm.state = guest_step(vm._ticked())
    if run_state == "paused":
        act(vm, "stop", {})
    return vm, asyncio.run(manifest_of(vm, [disk.name for disk in described]))


def act(vm, command, arguments):
    result = execute(vm.state, command, arguments)
    assert result.error is None, result.error
    vm.state = result.state
    vm.events.clear()


def image_node(vm, disk):
    root = lookup(vm.state, disk) or lookup(vm.state, f"{disk}-format")
    return content_node(vm.state.graph, root)


async def manifest_of(vm, names):
    facts = await ask_facts(vm)
    parts = []
    for disk in facts.disks:
        (held,) = disk.holding(TAG)
        part = InternalSnapshot(
            disk=disk.name,
            qdev=disk.qdev,
            node=disk.node,
            root=disk.root,
            file=disk.filename,
            format=disk.driver,
            snapshot_id=held.id,
            vm_clock_ns=held.vm_clock_ns,
            vm_state_size_bytes=held.vm_state_size_bytes,
            virtual_size_bytes=disk.virtual_size_bytes,
        )
        parts.append(part)
    assert len(parts) == len(names)
    devices = tuple((disk.name, disk.qdev) for disk in facts.disks)
    head = (TAG, "test", "0", facts.qemu, facts.machine, tuple(sorted(parts)))
    return Manifest(*head, target=facts.target, devices=devices)


async def survey(vm):
    """The facts, and the images by disk and file."""
    facts = await ask_facts(vm)
    return facts, images_of_vm(facts, await ask_images(vm))


class Killed(Exception):
    """snapplan is dead."""


@define
class Run:
    """One run of one machine, perhaps killed once.

    Attributes:
        make: Makes the machine anew.
        vm: The backend and its images.
        kill_at: The action (from 0) at which snapplan is killed; None: never.
        done: Whether it is killed when the action is done, and not before.
        dies: Whether nothing goes on from there: `Killed` is raised.
        asked: The actions, in order.
    """

    make: object
    vm: FaultyVm
    kill_at: int | None = None
    done: bool = False
    dies: bool = False
    asked: list = field(factory=list)
    log: list = field(factory=list)
    pumps: list = field(factory=list)

    def end(self) -> Outcome:
        try:
            return asyncio.run(self._end())
        finally:
            for pump in self.pumps:
                pump.close()

    async def _end(self):
        self.vm.armed = True
        machine = self.make()
        self.pumps.append(pump := Pump(machine, self.vm, images=self.vm))
        action = machine.start()
        while not isinstance(action, Outcome):
            number = len(self.asked)
            self.asked.append(action)
            killed = number == self.kill_at
            response = None if killed and not self.done else await pump._do(action)
            if killed and self.dies:
                raise Killed
            if killed:
                machine, action = self._again(action)
                self.vm.linked = False
                self.vm.events.clear()
                self.pumps.append(pump := Pump(machine, self.vm, images=self.vm))
                continue
            events = self.vm.pending_events()
            self.log.append((response, events))
            action = machine.tell(response, events)
        return action

    def _again(self, pending):
        """A new machine where the old one stood; it is asked the same on the way."""
        machine = self.make()
        action = machine.start()
        for asked, (response, events) in zip(self.asked, self.log, strict=False):
            assert action == asked, "told the same, it asks the same"
            action = machine.tell(response, events)
        assert action == pending
        if changes_something(action):
            action = machine.tell(KILLED, ())
        return machine, action
