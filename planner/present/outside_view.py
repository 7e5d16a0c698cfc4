"""What is outside of QEMU's block layer, for a person and for programs: before a snapshot and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from planner.compile.outside import UNSAFE_FOR_BACKGROUND
from planner.model.facts import Facts
from planner.model.outside import Outside, outside_of
from planner.present.tables import table

__all__ = [
    "draft_outside",
    "left_out_lines",
    "left_out_to_plain",
    "outside_lines",
    "outside_to_plain",
    "served_lines",
]


def outside_lines(facts: Facts) -> list[str]:
    """What a VM has there, and what becomes of each in a snapshot; nothing: it has none."""
    found = outside_of(facts)
    if not found:
        return []
    rows = [("NOT A DISK OF QEMU'S", "TYPE", "WHAT IT IS", "IN A SNAPSHOT")]
    rows += [(o.name, o.label, o.what, _becomes(o)) for o in found]
    return [table(rows)]


def served_lines(listeners: Mapping[str, tuple[str, Sequence[str]]]) -> list[str]:
    """Who serves a VM's disks, and where the QMP socket of that process may be.

    Args:
        listeners: By disk, the process in words and the paths that it listens at.
    """
    return [
        f"{disk} is served by {process}, which listens at {', '.join(paths)}. Where one of these is the "
        "QMP socket of a storage daemon: save both as a group, `{served-by: MEMBER}`."
        for disk, (process, paths) in sorted(listeners.items())
    ]


def _becomes(outside: Outside) -> str:
    words = []
    if outside.in_machine_state:
        words.append("in the machine state; without that it must be excluded by name")
    elif outside.stores:
        words.append("refused unless excluded by name")
    if outside.writes_memory:
        words.append(UNSAFE_FOR_BACKGROUND)
    return "; ".join(words) or "nothing of it"


def outside_to_plain(facts: Facts) -> list[dict[str, object]]:
    """What `outside_lines` says, as plain values."""
    return [
        {
            "name": outside.name,
            "names": list(outside.names),
            "type": outside.type,
            "uses": outside.uses,
            "peer": outside.peer,
            "what": outside.what,
            "stores": outside.stores,
            "writes-memory": outside.writes_memory,
            "in-machine-state": outside.in_machine_state,
        }
        for outside in outside_of(facts)
    ]


def draft_outside(facts: Facts, *, machine_state: bool) -> list[tuple[str, str]]:
    """What a drafted request has to leave out: name and reason."""
    missed = (o for o in outside_of(facts) if o.missed(machine_state=machine_state))
    return [(outside.name, f"{outside.label}: {outside.what}") for outside in missed]


_Devices = Iterable[tuple[str, str]]


class _Saved(Protocol):
    """A snapshot, or a load of it."""

    @property
    def outside(self) -> _Devices: ...

    @property
    def served(self) -> _Devices: ...


def left_out_lines(saved: _Saved) -> list[str]:
    """What a load leaves as it is, since the snapshot never held it; nothing: it held everything."""
    members = dict(saved.served)
    return [
        f"In the snapshot of member {members[name]!r}, not in this one: {name} ({kind})."
        if name in members
        else f"Not in this snapshot, and left as it is: {name} ({kind})."
        for name, kind in saved.outside
    ]


def left_out_to_plain(outside: _Devices) -> list[dict[str, str]]:
    """What `left_out_lines` says, as plain values."""
    return [{"name": name, "type": kind} for name, kind in outside]
