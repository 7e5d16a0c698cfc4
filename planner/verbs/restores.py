"""Restores: what `load --run` has started and made, listed, promoted and dropped.

A restore's files hold what its guest wrote.  They are the VM's disks from now on (promote), or they go
(drop).  To merge one, promote it, and delete the snapshot with its overlays committed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from planner.collect.throwaways import is_kept_by_its_owner
from planner.errors import BadInput, Problem, Refused, RunFailed, in_order
from planner.host.ending import end_process
from planner.parts.disk_part import DiskPart
from planner.parts.manifest import Manifest
from planner.parts.overlay import FrozenImage
from planner.run.consent import decide_and_ask
from planner.run.ports import Host, HostRefused, NoReply
from planner.run.stopping import to_its_end
from planner.store.journaled import check_nothing_pending
from planner.store.promoting import Promoted, StartWith, is_of, promote
from planner.store.restore_records import Restore, RestoredFile, RestoreState
from planner.store.restores import (
    KnownRestore,
    as_it_stands,
    forget_restore,
    known_restores,
    needing,
    restore_path,
    restores_of,
    with_identities,
)
from planner.store.store import Store
from planner.verbs.context import Offline, Question

__all__ = [
    "drop_restore",
    "list_restores",
    "promote_restore",
]

_TIMEOUT_S = 600.0
_UNRUN = (RestoreState.MAKING, RestoreState.SPARE)
"""Where no guest has run."""
_REMEDIES = {
    "image-in-use": "end that QEMU first",
    "part-needed": "remove that image first, if nobody needs it",
    "file-unwritable": "give the right to it",
    "file-differs": "see what it is, and move it away or remove it; then drop the restore again",
}


def list_restores(store: Store) -> tuple[tuple[KnownRestore, ...], tuple[Problem, ...]]:
    """The restores of every VM of a store, and which records cannot be read.  Changes nothing."""
    read = [(vm, restores_of(vm)) for vm in store.vms()]
    known = tuple(as_it_stands(vm, restore) for vm, of_vm in read for restore in of_vm.found)
    return known, tuple(problem for _, of_vm in read for problem in of_vm.problems)


async def drop_restore(offline: Offline, source: str) -> KnownRestore:
    """Remove the files of a restore, and its record last.

    Args:
        offline: The store, the host, and who is asked: what the guest wrote is lost.
        source: The restore's name, or the file of its record.

    Returns:
        What was dropped.  A drop that was interrupted is finished by another one.

    Raises:
        BadInput: There is no such restore, or nobody could be asked.
        Refused: Its QEMU lives, or somebody needs a file; nothing was removed (``drop-refused``).
        RunFailed: A file is left (``file-left``).
    """
    found = _find(source, offline.store)
    with found.vm.locked():
        _end_what_never_ran(_again(found))

        def ask(known: KnownRestore) -> bool:
            return offline.consent(_question(known)) if _is_lost(known) else False

        known = await decide_and_ask(lambda: _decide_drop(found, offline), ask, found.restore.name)
        await to_its_end(_drop(known, offline.host))
        return known


async def _decide_drop(found: KnownRestore, offline: Offline) -> KnownRestore:
    check_nothing_pending(found.vm)
    known = _again(found)
    problems = [*_running(known), *_needed(known, offline.store)]
    for made in known.restore.files:
        problems += await _looked(made, offline.host)
    if problems:
        message = f"restore {known.restore.name!r} cannot be dropped"
        raise Refused(message, problems=in_order(problems), code="drop-refused")
    return known


def _end_what_never_ran(known: KnownRestore) -> None:
    """End a QEMU that waits for its machine state, when nobody is going to give it any."""
    restore = known.restore
    if restore.state in _UNRUN and restore.process is not None and not is_kept_by_its_owner(known):
        end_process(restore.process)


def _running(known: KnownRestore) -> Iterator[Problem]:
    restore = known.restore
    if restore.owner is not None and is_kept_by_its_owner(known):
        words = f"the program that started it (pid {restore.owner.pid}) is there"
        yield Problem("restore-running", restore.name, words, "end that program first")
    if restore.state is RestoreState.STARTED and known.runs and restore.process is not None:
        words = f"its QEMU (pid {restore.process.pid}) is there, at {restore.socket}"
        yield Problem("restore-running", restore.name, words, "end that QEMU first")


def _needed(known: KnownRestore, store: Store) -> Iterator[Problem]:
    manifests = [each for vm in store.vms() for each in vm.manifests().found]
    for made in known.restore.files:
        for manifest in needing(made.file, manifests):
            words = f"snapshot {manifest.tag!r} needs {made.file}"
            remedy = f"delete {manifest.tag!r} first"
            if any(part.overlay_file == made.file for part in manifest.of(FrozenImage)):
                words = f"{made.file} is the disk of the VM since {manifest.tag!r}"
                remedy = "promote it again, which ends what was begun"
            yield Problem("part-needed", made.disk, words, remedy)


async def _looked(made: RestoredFile, host: Host) -> tuple[Problem, ...]:
    try:
        await host.do("look-before-drop", _told(made), _TIMEOUT_S)
    except HostRefused as refused:
        remedy = _REMEDIES.get(refused.code, "")
        return (Problem(refused.code, made.disk, refused.description, remedy),)
    except NoReply as silent:
        return (Problem("image-unreadable", made.disk, f"{made.file}: {silent}"),)
    return ()


def _told(made: RestoredFile) -> dict[str, object]:
    which = {"inode": made.inode, "born-ns": made.born_ns, "overlay": made.overlay}
    return {"path": made.file, "base": made.base, **which}


def _is_lost(known: KnownRestore) -> bool:
    """Whether something is lost that a guest may have written."""
    return bool(known.there) and known.restore.state not in _UNRUN


def _question(known: KnownRestore) -> Question:
    files = ", ".join(known.there)
    loss = f"this removes {files}, and what was written there since the restore is lost"
    if known.restore.state is RestoreState.SET_ASIDE:
        tag = known.restore.tag
        loss = f"this removes {files}, and what was written there after {tag!r} is lost"
    return Question(known.restore.name, loss, f"{loss}. Go on?", "add --yes")


async def _drop(known: KnownRestore, host: Host) -> None:
    left = []
    for made in known.restore.files:
        try:
            await host.do("drop-restored", _told(made), _TIMEOUT_S)
        except (HostRefused, NoReply) as failed:
            left.append(Problem("file-left", made.disk, f"{made.file}: {failed}", "drop it again"))
    if left:
        words = f"not all files of {known.restore.name!r} could be removed"
        raise RunFailed(words, problems=tuple(left), code="file-left")
    forget_restore(known.vm, known.restore)


def promote_restore(store: Store, source: str) -> Promoted:
    """Have a restore's disks be the VM's from now on; no image is touched, and none is lost.

    The snapshot's manifest names the restore's overlays then, and what was the VM's disk before is set
    aside: `drop_restore` removes it, and to promote the same restore again changes back.

    Args:
        store: Where it is recorded.
        source: The restore's name, or the file of its record.

    Raises:
        BadInput: There is no such restore, or the store cannot be written.
        Refused: Its files are not all there, or not those that it made (``promote-refused``).
    """
    found = _find(source, store)
    with found.vm.locked():
        check_nothing_pending(found.vm)
        restore = _again(found).restore
        problems = in_order(_not_whole(restore))
        if problems:
            message = f"restore {restore.name!r} cannot be promoted"
            raise Refused(message, problems=problems, code="promote-refused")
        manifest = found.vm.manifest(restore.tag)
        own = manifest if is_of(restore, manifest) else None
        after = promote(found.vm, own, restore)
        manifests = found.vm.manifests().found
        return Promoted(
            as_it_stands(found.vm, after), tuple(_start_with(restore, after, manifests))
        )


def _not_whole(restore: Restore) -> Iterator[Problem]:
    if restore.state is RestoreState.SPARE:
        words = "no guest has run on it: it waits for a load"
        yield Problem("restore-unfinished", restore.name, words, "load the snapshot")
    if restore.state is RestoreState.MAKING:
        words = "it was being made when a snapplan died, and no guest has run on it"
        remedy = f"`snapplan restore drop {shlex.quote(restore.name)}`, and load the snapshot again"
        yield Problem("restore-unfinished", restore.name, words, remedy)
    for made, now in zip(restore.files, with_identities(restore).files, strict=True):
        if not Path(made.file).exists():
            yield Problem("file-missing", made.disk, f"{made.file} is not there", "put it back")
        elif made.inode and (made.inode, made.born_ns) != (now.inode, now.born_ns):
            words = f"{made.file} is no longer the file that was recorded"
            yield Problem("file-differs", made.disk, words, "put that file back")


def _start_with(
    restore: Restore, after: Restore, manifests: Sequence[Manifest]
) -> Iterator[StartWith]:
    before = {made.disk: made.file for made in after.files}
    for made in restore.files:
        part = _part_under(made, manifests)
        file = _top(made.disk, made.file, manifests)
        image_format = made.format if file == made.file else "qcow2"
        node = "" if part is None else part.node
        old = before.get(made.disk, "" if made.overlay else made.base)
        yield StartWith(made.disk, node, file, image_format, old)


def _part_under(made: RestoredFile, manifests: Sequence[Manifest]) -> DiskPart | None:
    parts = (part for manifest in manifests for part in manifest.disk_parts)
    return next((p for p in parts if (p.disk, p.file) == (made.disk, made.base)), None)


def _top(disk: str, file: str, manifests: Sequence[Manifest]) -> str:
    """What lies uppermost over a file: snapshots were made on the restore since."""
    over = {
        part.file: part.overlay_file
        for manifest in manifests
        for part in manifest.of(FrozenImage)
        if part.disk == disk
    }
    seen: set[str] = set()
    while file in over and file not in seen:
        seen.add(file)
        file = over[file]
    return file


def _find(source: str, store: Store) -> KnownRestore:
    found, _ = list_restores(store)
    named = [
        known
        for known in found
        if source in (known.restore.name, str(restore_path(known.vm, known.restore)))
    ]
    if len(named) > 1:
        files = ", ".join(str(restore_path(known.vm, known.restore)) for known in named)
        raise _bad("restore-ambiguous", source, f"several VMs have one: {files}", "give its file")
    if not named:
        names = ", ".join(sorted(known.restore.name for known in found))
        remedy = f"choose one of: {names}" if names else "the store has none"
        raise _bad("restore-unknown", source, "no restore is called so", remedy)
    return named[0]


def _again(found: KnownRestore) -> KnownRestore:
    """The same as it is now: what was read before a lock was held may be out of date."""
    for known in known_restores(found.vm):
        if known.restore.name == found.restore.name:
            return known
    raise _bad("restore-unknown", found.restore.name, "it has gone meanwhile", "look again")


def _bad(code: str, source: str, why: str, remedy: str) -> BadInput:
    problem = Problem(code, source, why, remedy)
    return BadInput.of(problem)
