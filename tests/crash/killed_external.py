"""A simulated VM with files beside it, for runs with overlays, streams and copies that die anywhere.

Files outlive snapplan and QEMU; open descriptors do not outlive snapplan.  What the host does to them is
in `tests.crash.memory_host`.
"""

from attrs import define, evolve, field

from planner.recover.gone import GoneVm, ImagesOfAnother
from planner.recover.recovery import Link, pending_runs, recover_run
from planner.run.ports import CommandRefused
from planner.run.pump import Pump, ask_facts
from planner.save.save_machine import SaveMachine
from planner.save.save_run import begin_save
from planner.semantics import (
    advance_background,
    content_node,
    lookup,
    next_in_background,
    run_background,
)
from planner.store.instance import Instance
from planner.store.store import Store
from tests.crash.killing import IDENTITY, KilledVm
from tests.crash.memory_host import OPEN, MemoryHost


@define
class FilesVm(KilledVm):
    """The VM, and the files that a run makes.

    Attributes:
        files: Each file, by name.
        locked: Files that another QEMU has open.
        instant: What the disk that is copied held when its copy began; None: none has.
    """

    files: dict = field(factory=dict)
    locked: frozenset = frozenset()
    instant: int | None = None

    async def execute(self, command, arguments, timeout_s):
        file = arguments.get("file", arguments) if command == "blockdev-add" else {}
        name = file.get("filename", "")
        if name and not name.startswith("/dev/fdset/") and name not in self.files:
            raise CommandRefused("GenericError", "Could not open: No such file or directory")
        try:
            return await super().execute(command, arguments, timeout_s)
        finally:
            self.note_content()

    async def execute_with_descriptor(self, command, arguments, descriptor, timeout_s):
        assert descriptor == OPEN
        return await self.execute(command, arguments, timeout_s)

    async def wait_for_event(self, timeout_s):
        if self.linked and not self.state.died and next_in_background(self.state):
            self._guest_works()
            done = advance_background(self.state)
            self.state = done.state
            self._emit(done.events)
            self.note_content()
        await super().wait_for_event(timeout_s)

    def note_content(self):
        """What an overlay's node holds is what its file holds, for as long as there is a node."""
        for job in self.state.jobs:
            if job.backup is not None and job.backup.content is not None:
                self.instant = job.backup.content
        for node in self.state.graph.nodes:
            held = self.files.get(node.filename)
            if held is not None and held.copy and not node.file:
                self._note_copy(held, node)
            elif held is not None and node.driver == "qcow2" and self.attached(node):
                held.content = node.layer.content
                if held.frozen is None:
                    below = self.state.graph.node(node.backing)
                    held.frozen = content_node(self.state.graph, below).layer.content

    def _note_copy(self, held, file):
        """A copy's file holds a whole disk once its job has ended well."""
        above = [n.name for n in self.state.graph.nodes if n.file == file.name] or [file.name]
        for job in self.state.jobs:
            ended = job.status == "concluded" and not job.error
            if job.backup is not None and job.backup.target in above and ended:
                held.content = job.backup.content

    def attached(self, overlay):
        return bool(overlay.backing)

    def is_open(self, filename):
        """Whether a QEMU that lives has a file open."""
        nodes = () if self.state.died else self.state.graph.nodes
        return any(node.filename == filename for node in nodes)

    def goes_on(self):
        """Nobody listens, and what is under way goes on to its end."""
        if not self.state.died:
            self.state = run_background(self.state).state
            self._guest_works()
            self.note_content()

    def disk_content(self, disk):
        """What the guest reads from a disk."""
        root = next(d.node for d in self.state.devices if disk in d.qdev or d.name == disk)
        return content_node(self.state.graph, self.state.graph.node(root)).layer.content

    def base_content(self, disk):
        """What is in a disk's own image."""
        return content_node(self.state.graph, lookup(self.state, disk)).layer.content


async def apply(vm, planned, folder):
    """What `snapplan apply` does, from the plan on."""
    store = Store(folder).vm(IDENTITY)
    vm.armed = True
    run = begin_save(store, IDENTITY, planned.plan, planned.facts, instance=Instance((1,)))
    pump = Pump(SaveMachine.on(planned.plan.program, planned.facts), vm,
        images=vm, host=MemoryHost(vm), clock=vm, recorder=run.recorder(),
    )  # fmt: skip
    outcome = await pump.run()
    run.settle(outcome)
    return outcome


async def recover(vm, folder, *, another=None):
    """What `snapplan recover` does; its host has nothing open."""
    found = []
    for pending in pending_runs(Store(folder)):
        link = await _link(vm, another)
        vm.armed = True
        found.append((await recover_run(pending, link, clock=vm)).outcome)
    return found


async def _link(vm, another):
    host = MemoryHost(vm)
    if another is not None:
        another.armed = False
        facts = await ask_facts(another)
        another.armed = True
        another.moments = vm.moments
        return Link(GoneVm(), ImagesOfAnother(another, facts, None), host=host)
    if vm.state.died:
        return Link(GoneVm(), vm, host=host)
    await vm.connect(1.0)
    return Link(vm, vm, await ask_facts(vm), host=host)


def die(vm):
    """QEMU is killed too."""
    if not vm.state.died:
        vm.note_content()
        vm.state = evolve(vm.state, died="killed", pending=(), background=(), block_work=())


def vm_of(planned):
    """A new VM as it was."""
    return FilesVm(planned.state, planned.plan.request.tag)
