"""Restores, for a person and for programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from planner.errors import Problem
from planner.parts.start_options import start_option
from planner.present.outputs import decimal, output
from planner.present.visible import as_lines
from planner.present.words import problem_to_plain
from planner.store.promoting import Promoted
from planner.store.restore_records import RestoreState
from planner.store.restores import KnownRestore

__all__ = [
    "dropped_text",
    "known_lines",
    "known_to_plain",
    "promoted_text",
    "restores_text",
    "restores_to_plain",
]

_WORDS = {
    RestoreState.MAKING: "unfinished: it was being made when a snapplan died",
    RestoreState.READY: "made ready; nobody recorded whether a QEMU was started on it",
    RestoreState.SET_ASIDE: "set aside: what the VM wrote before it went back",
}


def known_lines(known: Sequence[KnownRestore]) -> Iterator[str]:
    """A line for each restore, and one for each of its files."""
    for each in known:
        yield f"restore {each.restore.name}  ({_words(each)})"
        for made in each.restore.files:
            gone = "" if made.file in each.there else "  (gone)"
            yield f"  {made.disk}: {made.file}{gone}"


def _words(known: KnownRestore) -> str:
    restore = known.restore
    if restore.state is RestoreState.SPARE:
        return _spare_words(known)
    if restore.state is not RestoreState.STARTED:
        return _WORDS[restore.state]
    pid = "" if restore.process is None else f" (pid {restore.process.pid})"
    if known.runs:
        return f"its QEMU{pid} is at {restore.socket}"
    if known.runs is False:
        return "its QEMU has ended"
    return f"whether its QEMU{pid} is there cannot be told from here"


def _spare_words(known: KnownRestore) -> str:
    if known.runs is False:
        return "a spare whose QEMU has ended: gc removes it"
    pid = "" if known.restore.process is None else f" (pid {known.restore.process.pid})"
    return f"a spare: its QEMU{pid} waits at {known.restore.socket} for a load"


def restores_text(known: Sequence[KnownRestore], problems: Sequence[Problem]) -> str:
    """All restores; damaged records at the end."""
    lines = [*known_lines(known), *(f"not read: {problem}" for problem in problems)]
    return as_lines(lines) or "no restores"


def restores_to_plain(
    known: Sequence[KnownRestore],
    problems: Sequence[Problem] = (),
    *,
    removed: Sequence[str] = (),
    promoted: Promoted | None = None,
) -> dict[str, object]:
    """What a command about restores says, as plain values.

    Args:
        known: The restores that it is about, as they stand.
        problems: Records that cannot be read.
        removed: Files that were removed.
        promoted: What was promoted.
    """
    starts = () if promoted is None else promoted.start_with
    return output(
        "restore",
        {
            "restores": [known_to_plain(each) for each in known],
            "problems": [problem_to_plain(problem) for problem in problems],
            "removed": list(removed),
            "start-with": [
                {
                    "disk": each.disk,
                    "file": each.file,
                    "format": each.format,
                    "in-place-of": each.in_place_of,
                    "option": start_option(each.node, each.file, each.format),
                }
                for each in starts
            ],
        },
    )


def known_to_plain(known: KnownRestore) -> dict[str, object]:
    """A restore, as it stands."""
    restore = known.restore
    return {
        "name": restore.name,
        "tag": restore.tag,
        "number": restore.number,
        "vm-key": known.vm.vm_key,
        "state": restore.state.value,
        "runs": known.runs,
        "pid": None if restore.process is None else restore.process.pid,
        "socket": restore.socket,
        "made-ns": decimal(restore.made_ns),
        "files": [
            {
                "disk": made.disk,
                "file": made.file,
                "format": made.format,
                "base": made.base,
                "overlay": made.overlay,
                "there": made.file in known.there,
            }
            for made in restore.files
        ],
    }


def dropped_text(known: KnownRestore) -> str:
    """What was removed."""
    lines = [f"Restore {known.restore.name!r} is dropped."]
    lines += [f"  removed {file}" for file in known.there]
    return as_lines(lines)


def promoted_text(promoted: Promoted) -> str:
    """How QEMU is started from now on, and what was set aside."""
    restore = promoted.known.restore
    name = restore.name
    lines = [f"The disks of restore {name!r} are the VM's. From now on start QEMU on them:"]
    for each in promoted.start_with:
        lines.append(f"  {each.disk}: {start_option(each.node, each.file, each.format)}")
        lines += [f"    in place of {each.in_place_of}"] if each.in_place_of else []
    for made in restore.files:
        lines.append(f"Set aside: {made.file}, with what was written until the VM went back.")
    if restore.files:
        drop = shlex.join(["snapplan", "restore", "drop", name])
        lines.append(f"`{drop}` removes that; to promote {name} again changes back.")
    return as_lines(lines)
