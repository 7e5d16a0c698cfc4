"""Records a restore while it is made, so that whoever dies leaves no file that nobody explains.

    begin - make the files - made - starting - start QEMU - started    or, where it fails, taken_back

What is said comes before what is done: a record may name files that are not there, never the reverse.
"""

from __future__ import annotations

import os

from attrs import define, evolve

from planner.host.processes import process_of
from planner.load.fresh_qemu import RestoredDisk, RestorePlan
from planner.parts.overlay import FrozenImage
from planner.parts.readied import Readied
from planner.store.restore_records import Restore, RestoredFile, RestoreState
from planner.store.restores import (
    forget_restore,
    restores_of,
    with_identities,
    write_restore,
)
from planner.store.store import Store, VmStore

__all__ = ["RestoreRecord"]


@define
class RestoreRecord:
    """The record of one restore.

    Attributes:
        vm: The VM's share of the store, locked; None: the manifest is no store's, nor is the record.
        restore: What is recorded.
    """

    vm: VmStore | None
    restore: Restore

    @classmethod
    def begin(cls, vm: VmStore | None, plan: RestorePlan, now_ns: int) -> RestoreRecord:
        """Say what is going to be made.

        Raises:
            BadInput: The store cannot be written (``store-unwritable``); nothing was made.
        """
        manifest = plan.manifest
        files = tuple(_file(disk) for disk in plan.makes)
        restore = Restore(
            *(manifest.tag, plan.number, RestoreState.MAKING, files),
            saved_ns=manifest.ended_ns,
            made_ns=now_ns,
        )
        record = cls(vm, restore)
        record._write(restore)
        return record

    @classmethod
    def find(cls, store: Store, plan: RestorePlan) -> RestoreRecord | None:
        """The record of a restore whose disks were made ready; None: no store has one."""
        for vm in store.vms():
            for restore in restores_of(vm).of(plan.manifest.tag):
                same = restore.number == plan.number
                if same and restore.saved_ns == plan.manifest.ended_ns:
                    return cls(vm, restore)
        return None

    def made(self, *, ready: bool) -> None:
        """The files are there; `ready`: and whoever asked for them starts QEMU himself."""
        state = RestoreState.READY if ready else self.restore.state
        self._write(with_identities(evolve(self.restore, state=state)))

    def starting(self, socket: str) -> None:
        """A QEMU is started on them: from now on they may hold what its guest wrote."""
        self._write(evolve(self.restore, state=RestoreState.STARTED, socket=socket))

    def started(self, pid: int) -> None:
        """It is this process, and waits for its machine state."""
        self._write(evolve(self.restore, process=process_of(pid)))

    def taken_back(self) -> None:
        """It failed, and its files were removed: it is forgotten, unless one is still there."""
        if self.vm is not None and not any(os.path.lexists(f.file) for f in self.restore.files):
            forget_restore(self.vm, self.restore)

    def _write(self, restore: Restore) -> None:
        self.restore = restore
        if self.vm is not None:
            write_restore(self.vm, restore)


def _file(disk: RestoredDisk) -> RestoredFile:
    part, overlay = disk.part, disk.how is Readied.NEW_OVERLAY
    instead_of = part.overlay_file if isinstance(part, FrozenImage) else ""
    return RestoredFile(part.disk, disk.file, disk.format, part.file, overlay, instead_of)
