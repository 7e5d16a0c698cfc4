"""Clones of a template, for a person and for programs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from planner.present.outputs import output
from planner.present.outside_view import left_out_lines, left_out_to_plain
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.template.clone_plan import Cloned

__all__ = ["clones_text", "clones_to_plain", "spares_text"]


def clones_text(cloned: Sequence[Cloned]) -> str:
    """What was started, and what the clones have in common."""
    first = cloned[0]
    manifest = first.plan.manifest
    lines = []
    for each in cloned:
        spare = ", which had been waiting," if each.spare else ""
        head = f"Snapshot {manifest.tag!r} is restored from its template as {each.name}"
        lines.append(
            f"{head}; its QEMU (pid {each.pid}){spare} is {each.run_state} at {each.plan.socket}."
        )
        lines.append(
            table([("DISK", "FILE"), *((d.part.disk, d.file) for d in each.plan.disks)], "  ")
        )
    if first.same:
        lines.append("The same in every VM that is restored from it:")
        lines += [f"  {words}" for words in first.same]
    drop = shlex.join(["snapplan", "restore", "drop", first.name])
    lines.append(f"`{drop}` removes the files of one when its QEMU has ended.")
    return as_lines([*lines, *left_out_lines(manifest)])


def spares_text(cloned: Sequence[Cloned]) -> str:
    """Which QEMUs wait."""
    lines = [
        f"{each.name} waits at {each.plan.socket} (pid {each.pid}) for a load by the same command line."
        for each in cloned
    ]
    drop = shlex.join(["snapplan", "restore", "drop", cloned[0].name])
    return as_lines([*lines, f"`{drop}` ends one."])


def clones_to_plain(cloned: Sequence[Cloned], *, single: bool) -> dict[str, object]:
    """What `clones_text` says, as plain values.

    Args:
        cloned: The clones, one at least.
        single: Whether one VM was asked for, and no number of clones.
    """
    first = cloned[0]
    manifest = first.plan.manifest
    body: dict[str, object] = {
        "tag": manifest.tag,
        "outside": left_out_to_plain(manifest.outside),
        "clones": [_to_plain(each) for each in cloned],
        "same": list(first.same),
    }
    if single:
        body |= {
            "run-state": first.run_state,
            "pid": first.pid,
            "qmp-socket": first.plan.socket,
            "disks": _disks(first),
        }
    return output("load", body)


def _to_plain(cloned: Cloned) -> dict[str, object]:
    plan = cloned.plan
    return {
        "name": cloned.name,
        "number": plan.number,
        "pid": cloned.pid,
        "qmp-socket": plan.socket,
        "run-state": cloned.run_state,
        "spare": cloned.spare,
        "uuid": plan.own.uuid,
        "mac": plan.own.mac,
        "disks": _disks(cloned),
    }


def _disks(cloned: Cloned) -> list[dict[str, object]]:
    return [
        {"disk": disk.part.disk, "file": disk.file, "format": "qcow2"} for disk in cloned.plan.disks
    ]
