"""A run whose QEMU is gone: the proof that it is, and what stands in its place.

A socket at which nobody listens proves nothing: it may have been unlinked, or its folder renamed, or
its QEMU may have another one.  As long as QEMU lives, its images and overlays are its own, and nothing
is done to them behind its back.  What proves its death: its process is not there any more, or nobody has
its images open.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NoReturn

from attrs import field, frozen

from planner.errors import CannotConnect, OutcomeUnknown, Problem
from planner.host.file_locks import is_locked
from planner.host.processes import Process, boot_id, lives, open_files, qemu_process
from planner.model.facts import Facts, SnapshotInfo
from planner.recover.replay import Replayed
from planner.run.journal import Header, Intent, Journal
from planner.run.ports import Backend, CommandRefused, ConnectionLost, Event, Images, NoReply
from planner.store.instance import Instance
from planner.store.meeting import writable_files

__all__ = ["GoneVm", "ImagesOfAnother", "check_gone", "refuse_unknown"]

_TIMEOUT_S = 60.0
_STATE = "It is as the interrupted run left it; nothing was touched."


def check_gone(
    journal: Journal,
    replayed: Replayed,
    held: Collection[str] = (),
    met: Instance | None = None,
) -> None:
    """Make sure that the QEMU of a run is gone, before its images are touched without it.

    Args:
        journal: Of the run.
        replayed: Where it stands.
        held: Images that a QEMU which was met has open: nobody else can write to them.
        met: Which one that is.

    Raises:
        OutcomeUnknown: It lives (``qemu-alive``), somebody has an image of the run open
            (``image-in-use``), or nothing proves that it is gone (``death-unproved``).
    """
    header = journal.header
    process = _process(header)
    alive = None if process is None else lives(process)
    if alive and process is not None:
        raise _alive(header, process)
    touched = {file for file in replayed.run.repaired(header.baseline.filenames) if file}
    files = (
        touched - set(held) if alive is False else (touched | writable_files(header)) - set(held)
    )
    locks = {file: is_locked(file) for file in sorted(files)}
    for file, locked in locks.items():
        if locked:
            raise _in_use(header, file, "another program")
    if alive is False:
        return
    opened = open_files(files)
    own = None if met is None or met.process is None else met.process.pid
    for pid, file in sorted(opened.users.items()):
        if pid != own:
            raise _in_use(header, file, f"process {pid}")
    if not opened.complete and (None in locks.values() or _migrated(journal)):
        raise _unproved(header)


def refuse_unknown(header: Header) -> NoReturn:
    """Refuse a QEMU of which nobody can tell whether it is the one of the run.

    Raises:
        OutcomeUnknown: Always (``process-unproved``).
    """
    words = "this QEMU has the thread ids of the run's, and that does not prove that it is the same"
    remedy = f"name the socket of the run ({header.address}), or shut the VM down and recover then"
    problem = Problem("process-unproved", header.address, words, remedy)
    raise OutcomeUnknown(problem.words, problems=(problem,), code=problem.code, vm_state=_STATE)


def _process(header: Header) -> Process | None:
    """The run's process; of a journal of before, one that has its threads and its images now."""
    if header.process is not None or header.boot != boot_id():
        return header.process
    threads = [int(thread) for thread in header.instance.split(",") if thread.isdecimal()]
    return qemu_process(None, threads, sorted(writable_files(header)))


def _migrated(journal: Journal) -> bool:
    """Whether QEMU may have given up its locks on the images, though it lives."""
    sent = (r.action.get("$send") for r in journal.records if isinstance(r, Intent))
    return any(isinstance(send, dict) and send.get("command") == "migrate" for send in sent)


def _alive(header: Header, process: Process) -> OutcomeUnknown:
    words = (
        f"the QEMU of the run, process {process.pid}, still runs, though its socket takes no "
        "connection"
    )
    remedy = (
        "give another QMP socket of it: `snapplan recover --vm OTHER`; if it has none, end that "
        "process, then recover"
    )
    return _refusal("qemu-alive", header, words, remedy)


def _in_use(header: Header, file: str, who: str) -> OutcomeUnknown:
    words = f"{who} has {file} open, an image of the run"
    remedy = "if it is a QEMU, give its QMP socket with --vm; else end that program, then recover"
    return _refusal("image-in-use", header, words, remedy)


def _unproved(header: Header) -> OutcomeUnknown:
    words = "nothing that can be seen from here proves that the QEMU of the run is gone"
    remedy = "recover as root on the machine that it ran on, or give a QMP socket of it with --vm"
    return _refusal("death-unproved", header, words, remedy)


def _refusal(code: str, header: Header, words: str, remedy: str) -> OutcomeUnknown:
    problem = Problem(code, header.address, words, remedy)
    return OutcomeUnknown(problem.words, problems=(problem,), code=code, vm_state=_STATE)


@frozen
class GoneVm:
    """A `planner.run.ports.Backend` where no QEMU is: what is done is done to its images.

    Attributes:
        why: What a machine is told that asks for it.
    """

    why: str = "the QEMU of the run is gone"

    @property
    def images(self) -> None:
        """Given beside it, by whoever knows that nobody has them open."""
        return

    @property
    def host(self) -> None:
        """Likewise."""
        return

    @property
    def peer_pid(self) -> None:
        """There is no process."""
        return

    async def connect(self, timeout_s: float) -> None:
        """There is nothing to connect to."""
        del timeout_s
        raise CannotConnect(self.why, code="nobody-listens")

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """Nothing is sent."""
        del command, arguments, timeout_s
        raise ConnectionLost(self.why)

    async def execute_with_descriptor(
        self, command: str, arguments: Mapping[str, object], descriptor: int, timeout_s: float
    ) -> object:
        """Nothing is sent."""
        del descriptor
        return await self.execute(command, arguments, timeout_s)

    async def wait_for_event(self, timeout_s: float) -> None:
        """There are no events."""
        del timeout_s
        raise ConnectionLost(self.why)

    def pending_events(self) -> tuple[Event, ...]:
        """There are no events."""
        return ()

    async def close(self) -> None:
        """There is no connection."""


@frozen
class ImagesOfAnother:
    """Images of a run that another QEMU has open now, looked at and repaired through that one.

    Attributes:
        backend: Connected to it.
        facts: Just asked from it.
        others: For the images that it does not have open; None: they cannot be reached.
    """

    backend: Backend
    facts: Facts
    others: Images | None
    _deleted: set[tuple[str, str]] = field(factory=set)

    async def snapshots(self, filename: str) -> tuple[SnapshotInfo, ...]:
        """See `planner.run.ports.Images.snapshots`."""
        for disk in self.facts.disks:
            if disk.filename == filename:
                gone = {id_ for file, id_ in self._deleted if file == filename}
                return tuple(each for each in disk.snapshots if each.id not in gone)
        if self.others is None:
            raise NoReply("the VM has no disk on that image now")
        return await self.others.snapshots(filename)

    async def delete(self, filename: str, name: str, snapshot_id: str) -> None:
        """See `planner.run.ports.Images.delete`."""
        for disk in self.facts.disks:
            if disk.filename == filename:
                root = self.facts.live_nodes.get(disk.root, disk.root)
                await self._delete(root, name, snapshot_id)
                self._deleted.add((filename, snapshot_id))
                return
        if self.others is None:
            raise NoReply("the VM has no disk on that image now")
        await self.others.delete(filename, name, snapshot_id)

    async def _delete(self, root: str, name: str, snapshot_id: str) -> None:
        which = {"device": root, "id": snapshot_id, "name": name}
        try:
            await self.backend.execute("blockdev-snapshot-delete-internal-sync", which, _TIMEOUT_S)
        except CommandRefused as refused:
            raise NoReply(f"QEMU says: {refused.description}") from refused
        except ConnectionLost as lost:
            raise NoReply(str(lost)) from lost
