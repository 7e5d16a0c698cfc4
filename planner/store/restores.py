"""The restores of a VM, in its share of the store: ``<vm key>/restores/<tag>-<digest>.json``, one each.

The VM's lock is held by whoever changes them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import evolve, frozen

from planner.errors import BadInput, Problem
from planner.host.birth import born_ns
from planner.host.files import make_folder, remove_file, write_whole
from planner.host.processes import lives
from planner.parts.manifest import Manifest
from planner.store.makings import makings_of
from planner.store.restore_records import (
    Restore,
    RestoredFile,
    RestoreState,
    read_restore,
    restore_record_text,
)
from planner.store.store import Store, VmStore
from planner.store.store_files import read_stored, unreadable, unwritable

__all__ = [
    "KnownRestore",
    "Restores",
    "as_it_stands",
    "forget_empty",
    "forget_restore",
    "known_restores",
    "needing",
    "numbers_taken",
    "recorded_by_others",
    "restore_path",
    "restores_of",
    "restores_on",
    "with_identities",
    "write_restore",
]

_SLUG_CHARACTERS = 40


@frozen
class Restores:
    """The restores of a VM.

    Attributes:
        found: In order of tag and number.
        problems: Files that are no records, one problem each.
    """

    found: tuple[Restore, ...] = ()
    problems: tuple[Problem, ...] = ()

    def of(self, tag: str) -> tuple[Restore, ...]:
        """Those of a snapshot."""
        return tuple(restore for restore in self.found if restore.tag == tag)


@frozen
class KnownRestore:
    """A restore as it stands.

    Attributes:
        vm: The VM's share of the store that it is recorded in.
        restore: What is recorded.
        runs: Whether its QEMU is there; None: that cannot be told, or none was started.
        there: Those of its files that are there.
    """

    vm: VmStore
    restore: Restore
    runs: bool | None
    there: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether nothing is left of it: no file, and no QEMU that may still be there."""
        ended = self.restore.process is None or self.runs is False
        return not self.there and (ended or self.restore.state is RestoreState.SET_ASIDE)


def restores_of(vm: VmStore) -> Restores:
    """All restores of a VM; a damaged record is a problem beside the others, and hides none of them."""
    found: list[Restore] = []
    problems: list[Problem] = []
    for path in _files(vm):
        try:
            found.append(read_restore(read_stored(path, "restore-malformed"), str(path)))
        except BadInput as error:
            problems.extend(error.problems)
    found.sort(key=lambda each: (each.tag, each.number))
    return Restores(tuple(found), tuple(problems))


def known_restores(vm: VmStore) -> tuple[KnownRestore, ...]:
    """The restores of a VM, as they stand."""
    return tuple(as_it_stands(vm, restore) for restore in restores_of(vm).found)


def as_it_stands(vm: VmStore, restore: Restore) -> KnownRestore:
    """A restore, with what there is of it."""
    runs = None if restore.process is None else lives(restore.process)
    there = tuple(made.file for made in restore.files if Path(made.file).exists())
    return KnownRestore(vm, restore, runs, there)


def restores_on(store: Store, own: VmStore, files: Collection[str]) -> tuple[KnownRestore, ...]:
    """The restores that concern a VM: its own, and the one that it is itself.

    Args:
        store: Where all are recorded.
        own: The VM's share of it.
        files: Its images.
    """
    found = []
    for vm in store.vms():
        for restore in restores_of(vm).found:
            made = {each.file for each in restore.files}
            if vm == own or not made.isdisjoint(files):
                found.append(as_it_stands(vm, restore))
    return tuple(found)


def recorded_by_others(own: VmStore) -> set[str]:
    """Every file that the records of the store's other VMs name: it is no stray one."""
    others = [vm for vm in Store(own.folder.parent).vms() if vm != own]
    manifests = [manifest for vm in others for manifest in vm.manifests().found]
    found = {file for each in manifests for file in (*each.files, *each.template_files)}
    found |= {file for vm in others for making in makings_of(vm) for file in making.files}
    restores = (restore for vm in others for restore in restores_of(vm).found)
    return found | {made.file for restore in restores for made in restore.files}


def forget_empty(vm: VmStore) -> None:
    """Forget the restores of which nothing is left: no file, and no QEMU."""
    for known in known_restores(vm):
        if known.empty:
            forget_restore(vm, known.restore)


def restore_path(vm: VmStore, restore: Restore) -> Path:
    """Where a restore is recorded."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", restore.tag)[:_SLUG_CHARACTERS].lstrip(".")
    digest = hashlib.sha256(restore.name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return vm.folder / "restores" / f"{slug}-{digest}.json"


def write_restore(vm: VmStore, restore: Restore) -> None:
    """Record a restore, whole or not at all, in place of what was recorded of it.

    The name of one that ends with its program is not waited for: a power cut ends the program, too.

    Raises:
        BadInput: It cannot be written (``store-unwritable``); what was there is still there.
    """
    path = restore_path(vm, restore)
    try:
        make_folder(path.parent)
        write_whole(path, restore_record_text(restore), lasting=restore.owner is None)
    except OSError as error:
        raise unwritable(path, error) from error


def forget_restore(vm: VmStore, restore: Restore) -> None:
    """Forget a restore: its record goes, its files stay as they are.

    Raises:
        BadInput: The record cannot be removed (``store-unwritable``).
    """
    path = restore_path(vm, restore)
    try:
        if path.parent.exists():
            remove_file(path, lasting=restore.owner is None)
    except OSError as error:
        raise unwritable(path, error) from error


def numbers_taken(vm: VmStore | None, tag: str) -> frozenset[int]:
    """The numbers that the restores of a snapshot have."""
    return frozenset() if vm is None else frozenset(each.number for each in restores_of(vm).of(tag))


def with_identities(restore: Restore) -> Restore:
    """The same, each file with what tells it from a later one of its name."""
    return evolve(restore, files=tuple(map(_with_identity, restore.files)))


def _with_identity(made: RestoredFile) -> RestoredFile:
    with suppress(OSError, ValueError):
        return evolve(made, inode=Path(made.file).stat().st_ino, born_ns=born_ns(made.file))
    return made


def needing(file: str, manifests: Sequence[Manifest]) -> Iterator[Manifest]:
    """The snapshots that cannot do without a file, or whose guest writes to it since."""
    for manifest in manifests:
        below = {each for part in manifest.parts for each in part.needed_unchanged}
        if file in {*manifest.files, *below}:
            yield manifest


def _files(vm: VmStore) -> list[Path]:
    folder = vm.folder / "restores"
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unreadable(folder, error) from error
    return [each for each in entries if each.suffix == ".json" and not each.name.startswith(".")]
