"""Promotes a restore: its disks become the VM's, and the overlays of before are set aside.

A manifest names one overlay over each frozen image: the one that the guest writes to.  A restore has put
another one there.  To promote it is to change the two names for each other: the manifest names the
restore's overlay, so that `verify`, `delete` and the next snapshot go by it, and the record names the
one of before, which nobody writes to any more and which can be dropped.  Done twice, it is as it was.

    record: instead of which overlay - manifest: the new name - record: set aside

Whoever dies in between leaves names that say how far it came, and promoting again goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from planner.parts.manifest import Manifest
from planner.parts.overlay import FrozenImage
from planner.parts.part import ManifestPart
from planner.store.restore_records import Restore, RestoredFile, RestoreState
from planner.store.restores import (
    KnownRestore,
    forget_restore,
    with_identities,
    write_restore,
)
from planner.store.store import VmStore

__all__ = ["Promoted", "StartWith", "is_of", "promote", "promoted", "set_aside"]


@frozen
class StartWith:
    """What QEMU is to be started with.

    Attributes:
        disk: The disk.
        node: Its node in the snapshot, as the manifest has it; empty: not known.
        file: The image.
        format: Its format.
        in_place_of: The image that it was before; empty: not known.
    """

    disk: str
    node: str
    file: str
    format: str
    in_place_of: str


@frozen
class Promoted:
    """A restore that was promoted.

    Attributes:
        known: What was set aside; no files: there is nothing.
        start_with: What QEMU is to be started with from now on.
    """

    known: KnownRestore
    start_with: tuple[StartWith, ...]


def is_of(restore: Restore, manifest: Manifest | None) -> bool:
    """Whether a restore is of this very snapshot, and not of an earlier one of its tag."""
    if manifest is None:
        return False
    return (restore.tag, restore.saved_ns) == (manifest.tag, manifest.ended_ns)


def promoted(manifest: Manifest, restore: Restore) -> Manifest:
    """The manifest, with the restore's overlays over its frozen images."""
    overlays = {made.disk: made.file for made in restore.files if made.overlay}

    def of_part(part: ManifestPart) -> ManifestPart:
        if not isinstance(part, FrozenImage) or part.disk not in overlays:
            return part
        return evolve(part, overlay_file=overlays[part.disk])

    return evolve(manifest, parts=tuple(map(of_part, manifest.parts)))


def set_aside(manifest: Manifest | None, restore: Restore) -> Restore:
    """The restore, with the overlays that the snapshot had before; copies are the VM's own now."""
    named = _overlays(manifest)

    def swapped(made: RestoredFile) -> RestoredFile:
        before = named.get(made.disk, made.instead_of)
        if before == made.file:  # the manifest was changed already, and somebody died
            before = made.instead_of
        return evolve(made, file=before, instead_of=made.file, inode=0, born_ns=0)

    files = tuple(swapped(made) for made in restore.files if made.overlay)
    kept = tuple(made for made in files if made.file)
    return evolve(restore, files=kept, state=RestoreState.SET_ASIDE)


def promote(vm: VmStore, manifest: Manifest | None, restore: Restore) -> Restore:
    """Do it; the VM's lock is held.

    Args:
        vm: Its share of the store.
        manifest: The snapshot; None: its record was given up.
        restore: Of that snapshot.

    Returns:
        What is set aside.

    Raises:
        BadInput: The store cannot be written (``store-unwritable``); promoting again goes on.
    """
    after = with_identities(set_aside(manifest, restore))
    after = evolve(after, files=tuple(made for made in after.files if made.inode))
    before = {made.disk: made.file for made in after.files}
    files = tuple(
        evolve(made, instead_of=before.get(made.disk, made.instead_of)) for made in restore.files
    )
    write_restore(vm, evolve(restore, files=files))
    if manifest is not None:
        vm.write(promoted(manifest, restore))
    if after.files:
        write_restore(vm, after)
    else:
        forget_restore(vm, restore)
    return after


def _overlays(manifest: Manifest | None) -> Mapping[str, str]:
    if manifest is None:
        return {}
    return {part.disk: part.overlay_file for part in manifest.of(FrozenImage)}
