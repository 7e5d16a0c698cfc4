"""The VM that a command meets, and what it is to a run that has not ended.

A VM has several QMP sockets, and a socket may be served by another QEMU than before: neither the address
nor the VM's name says whose run a journal is.  The process does (`planner.store.instance`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from attrs import evolve, frozen

from planner.host.places import recognizer
from planner.host.processes import Process, boot_id, lives
from planner.model.facts import Facts
from planner.model.facts_text import facts_from_plain
from planner.run.journal import Header
from planner.run.observation import Baseline
from planner.run.ports import Backend
from planner.run.pump import ask_facts
from planner.run.steady import SteadyBackend
from planner.store.identity import absolute_address
from planner.store.instance import Instance, ask_instance, files_of
from planner.store.process_locks import names_of
from planner.store.store import Store, VmIdentity, VmStore

__all__ = [
    "Met",
    "Sameness",
    "gone_disks",
    "is_of",
    "meet",
    "sameness",
    "vm_seen",
    "writable_files",
]


@frozen
class Met:
    """A VM that answers.

    Attributes:
        store: Where its records are kept.
        identity: What it is known by.
        facts: Just asked.
        instance: Which QEMU process it is.
        backend: Connected to it, and never to another one.
    """

    store: Store
    identity: VmIdentity
    facts: Facts
    instance: Instance
    backend: Backend

    @property
    def vm(self) -> VmStore:
        """Its share of the store; its manifests are read as the VM calls things now."""
        here = self.backend.images is not None
        return vm_seen(self.store, self.identity, self.facts, here=here)

    async def again(self, backend: Backend) -> Met:
        """The same VM as it is now."""
        return await meet(backend, self.store, self.identity.address)

    @property
    def lock_names(self) -> tuple[str, ...]:
        """The locks of its QEMU."""
        return names_of(self.instance, self.facts.vm_uuid, self.facts.vm_name)

    @contextmanager
    def locked_share(self) -> Iterator[VmStore]:
        """Hold the lock of its share of the store; that of its QEMU is held already."""
        while True:
            vm = self.vm
            with vm.locked():
                if (
                    self.store.vm(self.identity) == vm
                ):  # else another VM of this name took the folder meanwhile
                    vm.claim(self.identity)
                    yield vm
                    return


def vm_seen(store: Store, identity: VmIdentity, facts: Facts, *, here: bool) -> VmStore:
    """A VM's share of a store, its manifests read as the VM calls things now.

    Args:
        store: Where its records are kept.
        identity: What it is known by.
        facts: What it is now.
        here: Whether its files are this machine's.
    """
    by_what_it_is = recognizer(facts, here=here)
    return evolve(store.vm(identity), view=lambda manifest: by_what_it_is(store.view(manifest)))


async def meet(backend: Backend, store: Store, address: str) -> Met:
    """Ask a VM what it is.  Whose lock it is, only it can say.

    Raises:
        CannotConnect: It does not answer, or not in the shape that QMP says.
    """
    address = absolute_address(address)
    facts = await ask_facts(backend)
    instance = await ask_instance(backend, facts, address)
    identity = VmIdentity.of(facts, address, instance.process)
    return Met(store, identity, facts, instance, SteadyBackend(backend, instance.process))


class Sameness(Enum):
    """What a QEMU that answers is to a run."""

    SAME = auto()
    """The very process that the run was on."""
    ANOTHER = auto()
    """Another one."""
    UNKNOWN = auto()
    """It looks like it, and that proves nothing."""


def sameness(header: Header, instance: Instance, facts: Facts) -> Sameness:
    """Whether a QEMU is the very process that a run was on.

    The process decides where it is known of both.  Else the thread ids must be the same, which a QEMU
    in a container has again after every start: then the socket must be the same file as well.  Where
    QEMU says nothing of itself, every node that the run knew must be there.
    """
    known, met = header.process, instance.process
    if known is not None and met is not None and _comparable(known, met):
        return Sameness.SAME if _key(known) == _key(met) else Sameness.ANOTHER
    if header.boot != boot_id() or (known is not None and lives(known) is False):
        return Sameness.ANOTHER
    if not (header.instance or instance.name):
        gone = gone_disks(header.baseline, facts)
        return Sameness.ANOTHER if gone else Sameness.SAME
    if header.instance != instance.name:
        return Sameness.ANOTHER
    if known is not None or not header.socket or header.socket == instance.socket:
        return Sameness.SAME
    return Sameness.UNKNOWN


def _comparable(known: Process, met: Process) -> bool:
    """Whether their ids are meant in one namespace; a process of another boot is another one."""
    return known.boot != met.boot or known.pid_namespace == met.pid_namespace


def _key(process: Process) -> tuple[int, int, str]:
    return process.pid, process.started_ticks, process.boot


def is_of(header: Header, vm_key: str, met: Met) -> bool:
    """Whether a run is of this VM: on this very process, or on its images under its name.

    Args:
        header: What the run began with.
        vm_key: Where its journal is kept.
        met: The VM.
    """
    known, process = header.process, met.instance.process
    if known is not None and process is not None and _key(known) == _key(process):
        return True
    nameless = not (met.identity.uuid or met.identity.name or header.vm_uuid or header.vm_name)
    own = vm_key == met.vm.vm_key
    if not own and not nameless:
        return False
    files = writable_files(header)
    if not files:
        return own
    return not files.isdisjoint(files_of(met.facts))


def writable_files(header: Header) -> set[str]:
    """The images that the guest of a run could write to: no other VM has one of these."""
    facts = facts_from_plain(header.facts)
    return {disk.filename for disk in facts.disks if disk.filename and not disk.read_only}


def gone_disks(baseline: Baseline, facts: Facts) -> set[str]:
    """The disks of before that the VM has neither at the top nor under an overlay, by canonical name.

    A backing image whose node QEMU named is known by its file: the name does not outlive a look.
    """
    nodes = {facts.live_nodes.get(disk.node, disk.node) for disk in facts.disks}
    below = [layer for disk in facts.disks for layer in disk.backing]
    nodes |= {layer.node for layer in below}
    files = {layer.filename for layer in below if layer.filename}
    return {
        disk
        for disk, node in baseline.nodes.items()
        if node not in nodes and baseline.filenames.get(disk) not in files
    }
