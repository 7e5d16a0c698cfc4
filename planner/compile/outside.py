"""What a request says of storage outside of QEMU's block layer: it is left out by name, or refused.

A snapshot "of the VM" that silently lacks one of its disks is torn: the guest finds its memory and its
other disks at one instant, and that disk at another.  So nobody leaves such a thing out by a default,
not by `others: exclude` either; who names it has thought of it.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Facts
from planner.model.outside import Outside, outside_of
from planner.model.request import (
    Capture,
    Exclude,
    ExternalMachineState,
    NoMachineState,
    Request,
    ServedBy,
    Unreadable,
    Wish,
)
from planner.program.resolution import Choice

__all__ = ["UNSAFE_FOR_BACKGROUND", "OutsideDecision", "leave_out"]

_FOLDER = "vhost-user-fs"
UNSAFE_FOR_BACKGROUND = "no `capture: background` beside it"


@frozen
class OutsideDecision:
    """What a request makes of everything outside of the block layer.

    Attributes:
        named: Names in the request that mean such a thing, and no disk.
        devices: What the request leaves out: name and type, by name.
        choices: What was decided, and why.
        warnings: What the reader should know although it stops nothing.
        problems: What cannot be.
    """

    named: frozenset[str]
    devices: tuple[tuple[str, str], ...] = ()
    choices: tuple[Choice, ...] = ()
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def leave_out(request: Request, facts: Facts) -> OutsideDecision:
    """Find what a request leaves out by name, and what it would leave out without a word."""
    found = outside_of(facts)
    by_name = {name: outside for outside in found for name in outside.names}
    disks = facts.by_name()
    wishes = dict(request.disks)
    mine = frozenset(name for name in wishes if name in by_name and name not in disks)
    with_state = not isinstance(request.machine_state, NoMachineState)
    named = {by_name[name].name: name for name in wishes if name in mine}
    missed = [o for o in found if o.missed(machine_state=with_state)]
    problems = [
        *(_both(name) for name in sorted(wishes) if name in by_name and name in disks),
        *(
            _only_exclude(by_name[n])
            for n in sorted(mine)
            if not isinstance(wishes[n], Exclude | ServedBy | Unreadable)
        ),
        *(_unnamed(o) for o in missed if o.name not in named),
        *_background(request, found),
    ]
    return OutsideDecision(
        named=mine,
        devices=tuple((o.name, o.type) for o in missed if o.name in named),
        choices=tuple(_choices(found, named, wishes, with_state=with_state)),
        warnings=(
            *(f"{o.name} ({o.label}): {o.what}" for o in found if _only_named(o)),
            *(
                _missing(o)
                for o in missed
                if o.name in named and not isinstance(wishes[named[o.name]], ServedBy)
            ),
            *(_may_keep_its_state(o) for o in found if with_state and o.type.startswith(_FOLDER)),
        ),
        problems=tuple(problems),
    )


def _choices(
    found: tuple[Outside, ...],
    named: dict[str, str],
    wishes: dict[str, Wish],
    *,
    with_state: bool,
) -> Iterator[Choice]:
    for outside in found:
        if outside.in_machine_state and with_state:
            why = f"{outside.type}: QEMU writes its state with the rest of the machine"
            yield Choice(
                outside.name, "in the machine state", why, default=outside.name not in named
            )
        elif outside.name in named and isinstance(wish := wishes[named[outside.name]], ServedBy):
            why = f"asked for; {outside.type}: {outside.what}"
            yield Choice(outside.name, f"in member {wish.member!r}", why)
        elif outside.name in named:
            yield Choice(outside.name, "exclude", f"asked for; {outside.type}: {outside.what}")


def _may_keep_its_state(outside: Outside) -> str:
    return (
        f"{outside.name} ({outside.label}): QEMU asks that process for its state when it saves the "
        "machine's; an older virtiofsd cannot give it, and then the save fails and is undone (fact 137)"
    )


def _missing(outside: Outside) -> str:
    return (
        f"{outside.name} ({outside.label}) is left out: the snapshot does not hold what it stores, and "
        f"a load leaves that as it then is ({outside.what})"
    )


def _only_named(outside: Outside) -> bool:
    return not (outside.stores or outside.writes_memory)


def _both(name: str) -> Problem:
    return Problem(
        "disk-ambiguous",
        name,
        "this name means a disk, and a device outside of QEMU's block layer",
        f"write `/machine/peripheral/{name}: exclude` for the device, another name for the disk",
    )


def _only_exclude(outside: Outside) -> Problem:
    return Problem(
        "storage-outside",
        outside.name,
        f"{outside.what} ({outside.label}): it is outside of QEMU's block layer, and can be no part",
        f"write `{outside.name}: exclude`",
    )


def _unnamed(outside: Outside) -> Problem:
    return Problem(
        "storage-outside",
        outside.name,
        f"{outside.what} ({outside.label}): it is outside of QEMU's block layer, so the snapshot would "
        "lack what it stores, and a load would leave that as it then is",
        f"where a storage daemon serves it, save both as a group, with `{outside.name}: {{served-by: "
        f"MEMBER}}`; if the guest can do with the lack, write `{outside.name}: exclude`; else detach it",
    )


def _background(request: Request, found: tuple[Outside, ...]) -> Iterator[Problem]:
    state = request.machine_state
    if not isinstance(state, ExternalMachineState) or state.capture is not Capture.BACKGROUND:
        return
    for outside in found:
        if outside.writes_memory:
            yield Problem(
                "background-unsafe",
                outside.name,
                f"{outside.what} ({outside.label}): the guest's memory is written through it unseen by "
                "QEMU while a background capture saves it, also where it is excluded (fact 60)",
                "use `capture: stopped` or `live`, or detach it",
            )
