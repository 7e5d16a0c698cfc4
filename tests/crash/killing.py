"""Runs that die at a chosen moment, and their recovery: in process, on the semantics.

Every moment has a number: before, in the middle of (torn) and after each record of the journal, before
and after each command, each look at an image and each repair.  A run without a kill counts them; then
each number is one case.  A kill is a `BaseException`, so that nothing in snapplan can catch it.
"""

import asyncio
from contextlib import ExitStack, contextmanager
from unittest import mock

from attrs import define, evolve, field

from planner.compile.plan import compile_request
from planner.model.request_text import read_request
from planner.recover.gone import GoneVm, ImagesOfAnother
from planner.recover.recovery import Link, pending_runs, recover_run
from planner.run.ports import JournalFailed
from planner.run.pump import Pump, ask_facts
from planner.save import save_run
from planner.save.save_machine import SaveMachine
from planner.save.save_run import begin_save
from planner.store.instance import Instance
from planner.store.journal_file import JournalFile
from planner.store.store import Store, VmIdentity, VmStore
from tests.crash.faulty_vm import FaultyVm

IDENTITY = VmIdentity("", "guest", "/run/vm/qmp")


class Killed(BaseException):
    """SIGKILL."""


@define
class Moments:
    """Counts the moments of a process, and ends it at one of them.

    Attributes:
        kill_at: The moment; negative: never.
        seen: What the moments were, in order.
        full_from: From which append on the disk is full; negative: never.
        appends: How many there were.
    """

    kill_at: int = -1
    seen: list = field(factory=list)
    full_from: int = -1
    appends: int = 0

    def append(self):
        self.appends += 1
        if 0 <= self.full_from < self.appends:
            raise JournalFailed("no space left on device")

    def pass_by(self, what):
        self.seen.append(what)
        if len(self.seen) - 1 == self.kill_at:
            raise Killed(what)


class KilledVm(FaultyVm):
    """The VM, with a moment before and after all that is asked of it."""

    moments = Moments()

    async def execute(self, command, arguments, timeout_s):
        counted = self.armed
        if counted:
            self.moments.pass_by(f"before {command}")
        try:
            return await super().execute(command, arguments, timeout_s)
        finally:
            if counted:
                self.moments.pass_by(f"after {command}")

    async def snapshots(self, filename):
        self.moments.pass_by(f"before looking at {filename}")
        return await super().snapshots(filename)

    async def delete(self, filename, name, snapshot_id):
        self.moments.pass_by(f"before repairing {filename}")
        await super().delete(filename, name, snapshot_id)
        self.moments.pass_by(f"after repairing {filename}")


@contextmanager
def process(vm, moments, *, power_loss=False):
    """A process of snapplan: all that it writes and sends passes the moments.

    With a power loss only what was synced is in the journal afterwards.  Its journals are closed when it
    has ended, as the kernel would close them: a killed run does not get to it.
    """
    synced = {}
    vm.moments = moments
    with ExitStack() as patches:
        patches.enter_context(_journals_closed())
        for owner, name, made in _counted(moments, synced):
            patches.enter_context(mock.patch.object(owner, name, made))
        patches.enter_context(mock.patch("os.fsync"))
        try:
            yield
        except Killed:
            if power_loss:
                _lose(synced)
            raise
        finally:
            vm.events.clear()


@contextmanager
def _journals_closed():
    opened, opening = [], JournalFile.__init__

    def begin(self, *arguments):
        opening(self, *arguments)
        opened.append(self)

    with mock.patch.object(JournalFile, "__init__", begin):
        try:
            yield
        finally:
            for journal in opened:
                journal.close()


def _lose(synced):
    for path, size in synced.items():
        if path.exists():
            path.write_bytes(path.read_bytes()[:size])


def _counted(moments, synced):
    """What writes to the store, with moments around it."""
    creating, appending = JournalFile.create, JournalFile.append
    writing, removing = VmStore.write, JournalFile.remove
    standing = save_run.set_current

    def create(path, header):
        moments.append()
        moments.pass_by("before the header")
        made = creating(path, header)
        moments.pass_by("after the header")
        return made

    def append(self, line, *, lasting):
        moments.append()
        moments.pass_by("before a record")
        try:
            moments.pass_by("in a record")
        except Killed:
            appending(self, line[: len(line) // 2], lasting=False)
            raise
        appending(self, line, lasting=False)
        if lasting:
            synced[self.path] = self._size_bytes
        moments.pass_by("after a record")

    def write(self, manifest):
        moments.pass_by("before the manifest")
        path = writing(self, manifest)
        moments.pass_by("after the manifest")
        return path

    def stand(vm, ancestors):
        standing(vm, ancestors)
        moments.pass_by("after what the VM stands on")

    def remove(self):
        removing(self)
        moments.pass_by("after the journal's end")

    yield JournalFile, "create", create
    yield JournalFile, "append", append
    yield VmStore, "write", write
    yield save_run, "set_current", stand
    yield JournalFile, "remove", remove


@define
class Planned:
    """What is run, and the VM that it is planned for.

    Attributes:
        plan: The plan.
        facts: The VM's facts, from before.
        state: The VM itself.
    """

    plan: object
    facts: object
    state: object

    @classmethod
    def of(cls, state, text, design):
        vm = KilledVm(state, "")
        facts = asyncio.run(ask_facts(vm))
        return cls(compile_request(read_request(text), facts, design), facts, state)

    def vm(self):
        """A new VM as it was."""
        return KilledVm(self.state, self.plan.request.tag)


async def apply(vm, planned, folder):
    """What `snapplan apply` does, from the plan on."""
    store = Store(folder).vm(IDENTITY)
    vm.armed = True
    run = begin_save(store, IDENTITY, planned.plan, planned.facts, instance=Instance((1,)))
    pump = Pump(
        SaveMachine.on(planned.plan.program, planned.facts),
        vm,
        images=vm,
        clock=vm,
        recorder=run.recorder(),
    )
    outcome = await pump.run()
    run.settle(outcome)
    return outcome


async def recover(vm, folder, *, another=None):
    """What `snapplan recover` does, from the journals on; `another` is a QEMU started since."""
    found = []
    for pending in pending_runs(Store(folder)):
        link = await _link(vm, another)
        vm.armed = True
        found.append((await recover_run(pending, link, clock=vm)).outcome)
    return found


async def _link(vm, another):
    if another is not None:
        another.armed = False
        facts = await ask_facts(another)
        another.armed = True
        another.moments = vm.moments
        return Link(GoneVm(), ImagesOfAnother(another, facts, None))
    if vm.state.died:
        return Link(GoneVm(), vm)
    await vm.connect(1.0)
    return Link(vm, vm, await ask_facts(vm))


def die(vm):
    """QEMU is killed too."""
    if not vm.state.died:
        vm.state = evolve(vm.state, died="killed", pending=(), background=())


def restarted(vm):
    """Another QEMU on the same images."""
    host_ns = vm.state.host_ns + 10**9
    state = evolve(vm.state, died="", run_state="running", jobs=(), host_ns=host_ns)
    return KilledVm(state, vm.tag)
