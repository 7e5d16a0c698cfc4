"""The records of groups, in a store: ``groups/<group>-<digest>.json``, one each.

While a group is loaded there is one more, ``<group>-<digest>.json.load``.

Rules: a record is written whole, and lasts when that is said.  Whoever runs a group holds its lock
(``.<file>.lock``) beside those of its members.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import evolve, frozen
from filelock import FileLock, Timeout

from planner.errors import BadInput, Problem, Refused
from planner.group.record import GROUP_RECORDS, GroupRecord, GroupState
from planner.host.files import make_folder, remove_file, write_whole
from planner.model.group_run import GroupRun
from planner.program.program import canonical_json
from planner.store.store import GROUPS, Store, VmStore
from planner.store.store_files import file_name, read_stored, unreadable, unwritable

__all__ = ["GroupStore"]


@frozen
class GroupStore:
    """The groups of a store.

    Attributes:
        folder: Their folder; made when something is written.
        suffix: Behind the name of a record's file.
    """

    folder: Path
    suffix: str = ""

    @property
    def loads(self) -> GroupStore:
        """The records of their loads."""
        return evolve(self, suffix=".load")

    @classmethod
    def of(cls, store: Store) -> GroupStore:
        """The groups of a store."""
        return cls(store.root / GROUPS)

    @classmethod
    def beside(cls, vm: VmStore) -> GroupStore:
        """The groups of the store that a VM's share is of."""
        return cls(vm.folder.parent / GROUPS)

    def path(self, name: str) -> Path:
        """Where the record of a group is kept."""
        return self.folder / f"{file_name(name)}{self.suffix}"

    def find(self, name: str) -> GroupRecord | None:
        """The record of a group; None: there is none.

        Raises:
            BadInput: It cannot be read, or is none (``store-unreadable``, ``group-malformed``).
        """
        path = self.path(name)
        try:
            path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise unreadable(path, error) from error
        return GROUP_RECORDS.read(read_stored(path, GROUP_RECORDS.code), str(path))

    def known(self) -> tuple[tuple[GroupRecord, ...], tuple[Problem, ...]]:
        """Every group, in order of name, and a problem for each file that is no record.

        Raises:
            BadInput: The folder cannot be read (``store-unreadable``).
        """
        found: list[GroupRecord] = []
        problems: list[Problem] = []
        try:
            paths = sorted(self.folder.glob("*.json")) if self.folder.exists() else []
        except OSError as error:
            raise unreadable(self.folder, error) from error
        for path in paths:
            if path.name.startswith("."):
                continue  # it was still being written when somebody died
            try:
                found.append(GROUP_RECORDS.read(read_stored(path, GROUP_RECORDS.code), str(path)))
            except BadInput as error:
                problems.extend(error.problems)
        return tuple(sorted(found, key=lambda each: each.name)), tuple(problems)

    def is_committed(self, run: GroupRun) -> bool:
        """Whether a run of a group has decided that its snapshot is made.

        Raises:
            BadInput: The record cannot be read: then nobody knows.
        """
        return self.state_of(run) is GroupState.COMMITTED

    def write(self, record: GroupRecord) -> None:
        """Write a record, whole or not at all; on return it lasts.

        Raises:
            BadInput: It cannot be written (``store-unwritable``).
        """
        path = self.path(record.name)
        try:
            make_folder(path.parent)
            write_whole(path, canonical_json(GROUP_RECORDS.to_plain(record)))
        except OSError as error:
            raise unwritable(path, error) from error

    def state_of(self, run: GroupRun) -> GroupState:
        """What a run of a group has decided; without a record, or with another run's: nothing.

        Raises:
            BadInput: The record cannot be read: then nobody knows.
        """
        record = self.find(run.group)
        known = record is not None and record.run == run.run
        return record.state if record is not None and known else GroupState.BEGUN

    def decide(self, record: GroupRecord, state: GroupState) -> bool:
        """Decide, for good; whether it is decided.

        A write that fails may have put the record in its place all the same.  Then it is taken away,
        which decides against; where that cannot be done either, what stands there counts, since that is
        what everybody will read.
        """
        with suppress(Exception):
            self.write(evolve(record, state=state))
            return True
        with suppress(Exception):
            self.remove(record.name)
        try:
            now = self.find(record.name)
        except BadInput:
            return False
        return now is not None and now.run == record.run and now.state is state

    def remove(self, name: str) -> None:
        """Forget a group; the snapshots of its members stay as they are.

        Raises:
            BadInput: It cannot be removed (``store-unwritable``).
        """
        path = self.path(name)
        if not path.parent.exists():
            return
        try:
            remove_file(path)
        except OSError as error:
            raise unwritable(path, error) from error

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of a group, so that nobody else works on it meanwhile.

        Raises:
            Refused: Another snapplan holds it (``group-locked``).
            BadInput: The store cannot be written (``store-unwritable``).
        """
        lock = FileLock(self.folder / f".{file_name(name)}.lock", mode=0o600)
        try:
            make_folder(self.folder)
            lock.acquire(timeout=0)
        except Timeout as error:
            words = "another snapplan is at work on this group"
            problem = Problem("group-locked", name, words, "wait until it has ended")
            raise Refused.of(problem) from error
        except OSError as error:
            raise unwritable(self.folder, error) from error
        try:
            yield
        finally:
            lock.release()
