"""Restores that nobody keeps: a program's clones when it has ended, and spares that no load would take.

No guest has run in a spare.  What a guest wrote in a program's clone was never meant to stay: its record
says so before its first file is made.  So both are ended and removed without a question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from planner.errors import Problem
from planner.host.ending import end_process, remove_socket_folder
from planner.host.processes import lives
from planner.parts.manifest import Manifest
from planner.run.ports import Host, HostRefused, NoReply
from planner.store.restore_records import RestoreState
from planner.store.restores import KnownRestore, forget_restore, known_restores
from planner.store.store import VmStore

__all__ = ["clear_throwaways", "end_spares", "is_kept_by_its_owner", "is_thrown_away"]

_TIMEOUT_S = 60.0


def is_kept_by_its_owner(known: KnownRestore) -> bool:
    """Whether the program that it ends with is there still, or may be."""
    owner = known.restore.owner
    return owner is not None and lives(owner) is not False


def is_thrown_away(known: KnownRestore, manifests: Sequence[Manifest]) -> bool:
    """Whether nobody needs it any more.

    Args:
        known: A restore.
        manifests: The snapshots of its VM.
    """
    restore = known.restore
    if restore.owner is not None:
        return lives(restore.owner) is False
    if restore.state is not RestoreState.SPARE:
        return False
    wanted = any(
        (each.tag, each.ended_ns) == (restore.tag, restore.saved_ns)
        and each.template is not None
        and each.template.made_ns == restore.template_ns
        for each in manifests
    )
    return known.runs is False or not wanted


async def clear_throwaways(vm: VmStore, host: Host | None) -> tuple[Problem, ...]:
    """End and remove what nobody needs; the VM's lock is held.

    Returns:
        Which files are left, each with why.
    """
    manifests = vm.manifests()
    if host is None or manifests.problems:  # one that cannot be read may be the one
        return ()
    gone = (each for each in known_restores(vm) if is_thrown_away(each, manifests.found))
    return await _end(gone, host)


async def end_spares(vm: VmStore | None, tag: str, host: Host | None) -> tuple[Problem, ...]:
    """End the spares of a snapshot that is to be deleted; the VM's lock is held."""
    if vm is None or host is None:
        return ()
    spares = (
        each
        for each in known_restores(vm)
        if each.restore.tag == tag
        and each.restore.state is RestoreState.SPARE
        and not is_kept_by_its_owner(each)
    )
    return await _end(spares, host)


async def _end(known: Iterable[KnownRestore], host: Host) -> tuple[Problem, ...]:
    left: list[Problem] = []
    for each in known:
        restore, before = each.restore, len(left)
        if restore.process is not None:
            end_process(restore.process)
        for made in restore.files:
            which = {"inode": made.inode, "born-ns": made.born_ns, "overlay": made.overlay}
            told = {"path": made.file, "base": made.base, **which}
            try:
                await host.do("drop-restored", told, _TIMEOUT_S)
            except (HostRefused, NoReply) as failed:
                left.append(Problem("file-left", made.disk, f"{made.file}: {failed}"))
        if len(left) == before:
            remove_socket_folder(restore.socket)
            forget_restore(each.vm, restore)
    return tuple(left)
