"""Collects garbage: looks for it and removes it under one lock, and what is removed was looked at there.

A person may be asked in between, for as long as that takes; the lock is not held meanwhile, so that a
save at night does not fail because of a forgotten terminal.  What the answer is about is looked at again
under the lock that it is removed under: where some of it is no garbage any more, nothing is removed.

An unfinished run may still need what looks like garbage; where there is one, nothing is removable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from planner.collect.stray_files import sweep
from planner.collect.unneeded import Orphan, OrphanKind, find_orphans
from planner.errors import BadInput, Problem, RunFailed
from planner.host.files import remove_file
from planner.inspect.offline import LookedAtOnce, OfflineImages, images_of_files
from planner.inspect.verifying import ask_images
from planner.model.facts import Facts
from planner.model.image import Image
from planner.model.manifest import Manifest
from planner.parts.part_image import images_of_vm
from planner.run.consent import changed_while_asked
from planner.run.ports import Backend, CommandRefused, ConnectionLost, NoReply
from planner.run.pump import ask_facts
from planner.store.meeting import meet
from planner.store.store import Store, VmStore

__all__ = ["Garbage", "collect_in_store", "collect_on_vm", "look_in_store", "look_on_vm"]

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


async def look_on_vm(backend: Backend, address: str, store: Store, *, files_here: bool) -> Garbage:
    """What no snapshot of a running VM needs any more; nothing is changed.

    Args:
        backend: Connected to the VM.
        address: Where.
        store: Where its manifests are.
        files_here: Whether the VM's files are this machine's.
    """
    met = await meet(backend, store, address)
    with met.locked() as vm:
        return await _on_vm(backend, vm, files_here=files_here)


async def collect_on_vm(
    backend: Backend,
    address: str,
    store: Store,
    *,
    files_here: bool,
    agreed: Garbage | None = None,
) -> Garbage:
    """Remove it.

    Args:
        backend: Connected to the VM.
        address: Where.
        store: Where its manifests are.
        files_here: Whether the VM's files are this machine's.
        agreed: What somebody agreed to; None: to whatever is found.

    Returns:
        What was found, and removed where it is removable.

    Raises:
        Refused: What was agreed to is not garbage any more (``changed-while-asked``).
        BadInput: A file cannot be removed (``file-left``, ``store-unwritable``).
        RunFailed: A snapshot cannot be deleted (``part-left``).
    """
    met = await meet(backend, store, address)
    with met.locked() as vm:
        if agreed is not None and agreed.vm != vm:
            raise changed_while_asked(address)  # another VM listens there now
        now = _only(await _on_vm(backend, vm, files_here=files_here), agreed)
        _remove_files(now)
        for orphan in now.removable:
            if orphan.kind is OrphanKind.SNAPSHOT_MEASURED:
                await _remove_snapshot(backend, orphan, now.roots[orphan.subject])
        return now


async def look_in_store(store: Store, images: OfflineImages) -> tuple[Garbage, ...]:
    """What no snapshot of any VM of the store needs, where nobody has its images open."""
    return tuple([await _looked(vm, images) for vm in store.vms()])


async def _looked(vm: VmStore, images: OfflineImages) -> Garbage:
    with vm.locked():
        return await _of_files(vm, images)


async def collect_in_store(
    store: Store, images: OfflineImages, agreed: Sequence[Garbage] | None = None
) -> tuple[Garbage, ...]:
    """Remove it, one VM after the other; see `collect_on_vm`."""
    wanted = None if agreed is None else {each.vm: each for each in agreed}
    collected = []
    for vm in store.vms():
        if wanted is not None and vm not in wanted:
            continue  # it was not there when somebody was asked
        with vm.locked():
            found = await _of_files(vm, images)
            now = _only(found, None if wanted is None else wanted[vm])
            _remove_files(now)
            collected.append(now)
    return tuple(collected)


def _only(now: Garbage, agreed: Garbage | None) -> Garbage:
    """What was agreed to, if all of it is garbage still; what has come since is left alone."""
    if agreed is None:
        return now
    still = set(now.removable)
    for orphan in agreed.removable:
        if orphan not in still:
            raise changed_while_asked(orphan.subject)
    return evolve(now, orphans=agreed.orphans)


async def _on_vm(backend: Backend, vm: VmStore, *, files_here: bool) -> Garbage:
    facts = await ask_facts(backend)
    images = images_of_vm(facts, await ask_images(backend))
    return _garbage(vm, vm.manifests().found, images, facts, files_here=files_here)


async def _of_files(vm: VmStore, images: OfflineImages) -> Garbage:
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
    there = {file: Path(file).is_file() for file in files} if files_here else {}
    orphans = find_orphans(manifests, images, there, facts)
    if files_here:
        used = [file for each in images.values() for file in each]
        known = {*files, *used}
        folders = {Path(file).parent for file in known if file.startswith("/")}
        orphans += sweep(folders, known, [vm.folder, vm.folder / "manifests", vm.journals])
    if vm.journal_files():
        orphans = tuple(_needed_by_a_run(orphan) for orphan in orphans)
    disks = () if facts is None else facts.disks
    return Garbage(vm, orphans, {disk.name: disk.root for disk in disks})


def _needed_by_a_run(orphan: Orphan) -> Orphan:
    if not orphan.removable:
        return orphan
    message = f"{orphan.message}; an unfinished run may need it: first run `snapplan recover`"
    return evolve(orphan, removable=False, message=message)


def _remove_files(garbage: Garbage) -> None:
    for orphan in garbage.removable:
        if orphan.kind is OrphanKind.MANIFEST_EMPTY:
            garbage.vm.delete(orphan.tag)
        elif orphan.kind is OrphanKind.FILE_TEMPORARY:
            _remove(Path(orphan.subject))


def _remove(path: Path) -> None:
    try:
        remove_file(path)
    except OSError as error:
        why = error.strerror or str(error)
        problem = Problem("file-left", str(path), f"it cannot be removed: {why}")
        raise BadInput(str(problem), problems=(problem,), code=problem.code) from error


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
            vm_state="Its guest was not touched.",
        ) from error
