"""`snapplan gc`: what no snapshot needs any more."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from attrs import frozen

from backends.images import QemuImages
from planner.cli.common import (
    ConnectedBackend,
    connected,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.compile.part_image import images_of_vm
from planner.errors import BadInput, Problem, RunFailed
from planner.execute.collecting import Orphan, OrphanKind, find_orphans
from planner.execute.files import remove_file
from planner.execute.folders import sweep
from planner.execute.offline import images_of_files
from planner.execute.ports import Backend, CommandRefused, ConnectionLost, NoReply
from planner.execute.pump import ask_facts
from planner.execute.store import Store, VmIdentity, VmStore
from planner.execute.verifying import ask_images
from planner.model.facts import Facts
from planner.model.image import Image
from planner.model.manifest import Manifest
from planner.present.gc_view import orphans_text, orphans_to_plain

__all__ = ["command"]

_TIMEOUT_S = 60.0


@click.command("gc")
@vm_option
@click.option("--yes", is_flag=True, help="Do not ask before anything is removed.")
@store_option
@json_option
def command(*, vm: str | None, yes: bool, store: Store, as_json: bool) -> None:
    """Find what no snapshot needs any more, say what would be removed, and remove it with --yes.

    With --vm that VM's manifests, disks and folders are looked at; without it those of every VM of the
    store whose images nobody has open. What is not provably snapplan's is shown and left alone.
    """
    collected = run(connected(vm, lambda link: _on_vm(link, vm, store))) if vm else run(_all(store))
    orphans = tuple(orphan for each in collected for orphan in each.orphans)
    removable = any(orphan.removable for orphan in orphans)
    agreed = removable and _agreed(orphans, yes=yes, as_json=as_json)
    if agreed:
        for each in collected:
            _remove_files(each)
        if vm:
            run(connected(vm, lambda link: _remove_snapshots(link, collected)))
    if as_json:
        print_json(orphans_to_plain(orphans, removed=agreed))
    else:
        click.echo(orphans_text(orphans, removed=agreed))


@frozen
class _Collected:
    """What was found of one VM.

    Attributes:
        vm: Its share of the store.
        orphans: What was found.
        roots: What `blockdev-snapshot-delete-internal-sync` takes, by disk.
    """

    vm: VmStore
    orphans: tuple[Orphan, ...]
    roots: dict[str, str]


async def _on_vm(backend: ConnectedBackend, address: str, store: Store) -> list[_Collected]:
    facts = await ask_facts(backend)
    vm = store.vm(VmIdentity.of(facts, address))
    with vm.locked():
        images = images_of_vm(facts, await ask_images(backend))
        return [_collected(vm, images, facts, files_here=backend.images is not None)]


async def _all(store: Store) -> list[_Collected]:
    collected = []
    for vm in store.vms():
        with vm.locked():
            images: dict[str, dict[str, Image]] = {}
            for manifest in vm.manifests().found:
                # What cannot be looked at is in use: nothing can be told of it.
                found, _ = await images_of_files(manifest, QemuImages())
                for disk, files in found.items():
                    images.setdefault(disk, {}).update(files)
            collected.append(_collected(vm, images, None, files_here=True))
    return collected


def _collected(
    vm: VmStore,
    images: dict[str, dict[str, Image]],
    facts: Facts | None,
    *,
    files_here: bool,
) -> _Collected:
    manifests = vm.manifests().found
    files = _files_of(manifests)
    there = {file: Path(file).is_file() for file in files} if files_here else {}
    orphans = find_orphans(manifests, images, there, facts)
    disks = () if facts is None else facts.disks
    if files_here:
        used = [file for each in images.values() for file in each]
        known = {*files, *used}
        folders = {Path(file).parent for file in known if file.startswith("/")}
        orphans += sweep(folders, known, [vm.folder, vm.folder / "manifests", vm.journals])
    return _Collected(vm, orphans, {disk.name: disk.root for disk in disks})


def _files_of(manifests: Sequence[Manifest]) -> list[str]:
    parts = [part for manifest in manifests for part in manifest.parts]
    return [file for part in parts for file in (part.file, part.overlay_file) if file]


def _agreed(orphans: Sequence[Orphan], *, yes: bool, as_json: bool) -> bool:
    """Whether what can be removed is to be removed."""
    if yes:
        return True
    if not sys.stdin.isatty() or as_json:
        return False  # it has been said what would be removed, and that is all
    click.echo(orphans_text(orphans, removed=False), err=True)
    return click.confirm("Remove what can be removed?", err=True)


def _remove_files(collected: _Collected) -> None:
    with collected.vm.locked():
        for orphan in collected.orphans:
            if orphan.kind is OrphanKind.MANIFEST_EMPTY:
                collected.vm.delete(orphan.tag)
            elif orphan.kind is OrphanKind.FILE_TEMPORARY:
                _remove(Path(orphan.subject))


def _remove(path: Path) -> None:
    try:
        remove_file(path)
    except OSError as error:
        why = error.strerror or str(error)
        problem = Problem("file-left", str(path), f"it cannot be removed: {why}")
        raise BadInput(str(problem), problems=(problem,), code=problem.code) from error


async def _remove_snapshots(backend: Backend, collected: Sequence[_Collected]) -> None:
    for each in collected:
        for orphan in each.orphans:
            if orphan.kind is OrphanKind.SNAPSHOT_MEASURED:
                await _remove_snapshot(backend, orphan, each.roots[orphan.subject])


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
