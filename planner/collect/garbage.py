"""Garbage of one VM: what no snapshot needs, found and removed under a lock that somebody else holds.

An unfinished run may still need what looks like garbage; where there is one, nothing is removable.
`planner.verbs.collect` has the order: look, ask, look again, remove.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from planner.collect.makings_left import makings_left
from planner.collect.restores_left import restores_left
from planner.collect.stray_files import sweep
from planner.collect.unneeded import Orphan, OrphanKind, find_orphans
from planner.errors import BadInput, Problem, RunFailed
from planner.host.absence import whether_there
from planner.host.files import remove_file
from planner.inspect.offline import LookedAtOnce, OfflineImages, images_of_files
from planner.inspect.verifying import ask_images
from planner.model.facts import Facts
from planner.model.image import Image
from planner.parts.manifest import Manifest
from planner.parts.part_image import images_of_vm
from planner.run.consent import changed_while_asked
from planner.run.ports import Backend, CommandRefused, ConnectionLost, Host, NoReply
from planner.store.makings import MAKINGS, makings_of
from planner.store.restores import forget_empty, known_restores, recorded_by_others
from planner.store.store import VmStore
from planner.template.removing import clear_makings

__all__ = [
    "Garbage",
    "agreed_to",
    "garbage_of_files",
    "garbage_of_vm",
    "remove_files",
    "remove_makings",
    "remove_snapshots",
]

_TIMEOUT_S = 60.0


@frozen
class Garbage:
    """What was found of one VM.

    Attributes:
        vm: Its share of the store.
        orphans: What was found.
        roots: What `blockdev-snapshot-delete-internal-sync` takes, by disk.
    """

    vm: VmStore
    orphans: tuple[Orphan, ...]
    roots: Mapping[str, str]

    @property
    def removable(self) -> tuple[Orphan, ...]:
        """What may be removed."""
        return tuple(orphan for orphan in self.orphans if orphan.removable)


def agreed_to(now: Garbage, agreed: Garbage | None) -> Garbage:
    """What was agreed to, if all of it is garbage still; what has come since is left alone.

    Raises:
        Refused: Some of it is garbage no longer (``changed-while-asked``).
    """
    if agreed is None:
        return now
    still = set(now.removable)
    for orphan in agreed.removable:
        if orphan not in still:
            raise changed_while_asked(orphan.subject)
    return evolve(now, orphans=agreed.orphans)


async def garbage_of_vm(backend: Backend, vm: VmStore, facts: Facts) -> Garbage:
    """What no snapshot of a running VM needs any more; the VM is asked questions only."""
    images = images_of_vm(facts, await ask_images(backend))
    files_here = backend.images is not None
    return _garbage(vm, vm.manifests().found, images, facts, files_here=files_here)


async def garbage_of_files(vm: VmStore, images: OfflineImages) -> Garbage:
    """The same of a VM that does not run, by its files; of images that somebody has open, nothing."""
    found: dict[str, dict[str, Image]] = {}
    once = LookedAtOnce(images)
    manifests = vm.manifests().found
    for manifest in manifests:
        # What cannot be looked at is in use: nothing can be told of it.
        looked_at, _ = await images_of_files(manifest, once)
        for disk, files in looked_at.items():
            found.setdefault(disk, {}).update(files)
    return _garbage(vm, manifests, found, None, files_here=True)


def _garbage(
    vm: VmStore,
    manifests: Sequence[Manifest],
    images: dict[str, dict[str, Image]],
    facts: Facts | None,
    *,
    files_here: bool,
) -> Garbage:
    files = {file for manifest in manifests for file in manifest.files}
    there = {file: whether_there(file) for file in files} if files_here else {}
    orphans = find_orphans(manifests, images, there, facts)
    if files_here:
        used = [file for each in images.values() for file in each]
        known = {*files, *used, *(file for each in manifests for file in each.template_files)}
        restores = known_restores(vm)
        known |= {made.file for each in restores for made in each.restore.files}
        orphans += tuple(restores_left(restores, manifests))
        orphans += tuple(makings_left(vm))
        known |= {file for making in makings_of(vm) for file in making.files}
        folders = {Path(file).parent for file in known if file.startswith("/")}
        orphans += sweep(folders, known | recorded_by_others(vm), _own_folders(vm))
    if vm.journal_files():
        orphans = tuple(_needed_by_a_run(orphan) for orphan in orphans)
    disks = () if facts is None else facts.disks
    return Garbage(vm, orphans, {disk.name: disk.root for disk in disks})


def _own_folders(vm: VmStore) -> list[Path]:
    return [
        vm.folder,
        *(vm.folder / each for each in ("manifests", "restores", MAKINGS)),
        vm.journals,
    ]


def _needed_by_a_run(orphan: Orphan) -> Orphan:
    if not orphan.removable:
        return orphan
    message = f"{orphan.message}; an unfinished run may need it: first run `snapplan recover`"
    return evolve(orphan, removable=False, message=message)


def remove_files(garbage: Garbage) -> None:
    """Remove records of which nothing is left, and files that were never finished.

    Raises:
        BadInput: One cannot be removed (``file-left``, ``store-unwritable``).
    """
    for orphan in garbage.removable:
        if orphan.kind is OrphanKind.MANIFEST_EMPTY:
            garbage.vm.delete(orphan.tag)
        elif orphan.kind is OrphanKind.RESTORE_EMPTY:
            forget_empty(garbage.vm)
        elif orphan.kind is OrphanKind.FILE_TEMPORARY:
            _remove(Path(orphan.subject))


async def remove_makings(garbage: Garbage, host: Host | None) -> None:
    """Take away what is left of templates that were being made; a QEMU that made one is ended.

    Raises:
        BadInput: A file cannot be removed (``file-left``).
    """
    if host is None or not any(
        orphan.kind is OrphanKind.TEMPLATE_UNFINISHED for orphan in garbage.removable
    ):
        return
    left = await clear_makings(garbage.vm, host)
    if left:
        raise BadInput(str(left[0]), problems=left, code=left[0].code)


def _remove(path: Path) -> None:
    try:
        remove_file(path)
    except OSError as error:
        why = error.strerror or str(error)
        problem = Problem("file-left", str(path), f"it cannot be removed: {why}")
        raise BadInput.of(problem) from error


async def remove_snapshots(backend: Backend, garbage: Garbage) -> None:
    """Delete what a measurement left in the disks of a running VM, by id and name.

    Raises:
        RunFailed: One cannot be deleted (``part-left``); the guest was not touched.
    """
    for orphan in garbage.removable:
        if orphan.kind is OrphanKind.SNAPSHOT_MEASURED:
            await _remove_snapshot(backend, orphan, garbage.roots[orphan.subject])


async def _remove_snapshot(backend: Backend, orphan: Orphan, root: str) -> None:
    which = {"device": root, "id": orphan.snapshot_id, "name": orphan.tag}
    try:
        await backend.execute("blockdev-snapshot-delete-internal-sync", which, _TIMEOUT_S)
    except (CommandRefused, ConnectionLost, NoReply) as error:
        problem = Problem("part-left", orphan.subject, str(error), "collect again")
        raise RunFailed(
            f"{orphan.subject}: {error}",
            problems=(problem,),
            code=problem.code,
            left=(problem,),
            vm_state="Its guest was not touched.",
        ) from error
