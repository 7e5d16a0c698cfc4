"""Which runs of a design a test can have on a real QEMU, what strikes each, and how it is brought about.

Nothing is chosen by hand: every instruction is refused once, every operation fails once for which
blkdebug has an event, and QEMU and the client die before every instruction and after the last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from planner.explore.back import BackSetting
from planner.explore.instruction import Instruction, SideEffect
from planner.explore.spelling import Spelled, Unspelled, spell
from planner.explore.spelling_copies import OnHost
from planner.explore.state import Setting
from planner.explore.walking import Strike, StrikeKind, Walk, walk, walk_back
from planner.model.operations import Kind, Operation

__all__ = ["TRIED_TAG", "Broken", "NotTried", "Tried", "Trying", "trying"]

TRIED_TAG = "snap0"
"""What the snapshot is called in a test."""

_EVENTS: Mapping[Kind, str] = {
    Kind.WRITE_VMSTATE: "vmstate_save",
    Kind.READ_VMSTATE: "vmstate_load",
    Kind.SNAPSHOT_DISK: "cluster_alloc",
    Kind.DELETE_DISK_SNAPSHOT: "cluster_alloc",
}
"""By operation, the event of blkdebug after which the next request fails, so that the operation does."""

_FALLIBLE = (*_EVENTS, Kind.REVERT_DISK, Kind.BEGIN_COPY, Kind.END_COPY)


_FILES = (SideEffect.CREATE_COPY, SideEffect.KEEP_COPY)
"""What no QEMU sees."""


@frozen
class Broken:
    """A disk whose image fails.

    Attributes:
        disk: Its number.
        event: The event of blkdebug.
        kind: The operation that is to fail.
    """

    disk: int
    event: str
    kind: Kind


@frozen
class Tried:
    """One run that a test has.

    Attributes:
        name: A name for the test, of letters, digits and underscores.
        says: What it is about, in a sentence without its full stop.
        walk: The run, by the model.
        broken: Disks that fail.
        fails: The number of the instruction that fails; -1: none does.
    """

    name: str
    says: str
    walk: Walk
    broken: tuple[Broken, ...] = ()
    fails: int = -1


@frozen
class NotTried:
    """What no test tries, and why."""

    what: str
    why: str


@frozen
class Trying:
    """What a test of a design tries.

    Attributes:
        setting: What was explored.
        spelled: Its instructions, as QMP has them.
        runs: The runs; empty where an instruction is not spelled.
        left_out: What is not tried.
    """

    setting: Setting | BackSetting
    spelled: tuple[Spelled | OnHost | Unspelled, ...]
    runs: tuple[Tried, ...]
    left_out: tuple[NotTried, ...]


def trying(setting: Setting | BackSetting) -> Trying:
    """Find what a test of a design can try on a real QEMU."""
    instructions = setting.instructions
    disks = setting.disks
    spelled = tuple(
        spell(each, setting.design, disks, setting.vmstate, TRIED_TAG) for each in instructions
    )
    unspelled = [each for each in spelled if isinstance(each, Unspelled)]
    if unspelled:
        left_out = tuple(NotTried("every run", each.why) for each in unspelled)
        return Trying(setting, spelled, (), left_out)
    runs: list[Tried] = []
    left_out_of: list[NotTried] = [
        NotTried("a lost connection", "a test has no client that could come back"),
        NotTried("other clients, and two faults at once", "their number is too large for a test"),
    ]
    for strike, name, says in _strikes(instructions):
        broken = _broken(setting, strike)
        if strike is not None and strike.kind is StrikeKind.FAIL and broken is None:
            why = "blkdebug has no event for it alone"
            left_out_of.append(NotTried(says, why))
            continue
        ran = _walk(setting, strike)
        if ran is not None:
            fails = strike.at if strike is not None and strike.kind is StrikeKind.FAIL else -1
            runs.append(Tried(name, says, ran, broken or (), fails))
    return Trying(setting, spelled, tuple(runs), tuple(left_out_of))


def _walk(setting: Setting | BackSetting, strike: Strike | None) -> Walk | None:
    return walk(setting, strike) if isinstance(setting, Setting) else walk_back(setting, strike)


def _strikes(instructions: Sequence[Instruction]) -> Iterator[tuple[Strike | None, str, str]]:
    yield None, "nothing_strikes", "nothing goes wrong"
    for at, instruction in enumerate(instructions):
        called = f"{at + 1}_{_slug(instruction.name)}"
        says = f"QEMU refuses `{instruction.name}` (command {at + 1})"
        if instruction.effect in _FILES:
            says = f"`{instruction.name}` fails (step {at + 1})"
        yield Strike(StrikeKind.REFUSE, at), f"refused_{called}", says
        for number, operation in enumerate(instruction.operations):
            if operation.kind in _FALLIBLE:
                says = f"{operation} fails in `{instruction.name}` (command {at + 1})"
                name = f"fails_{called}_{_slug(str(operation))}"
                yield Strike(StrikeKind.FAIL, at, number), name, says
    for at in range(len(instructions) + 1):
        last = at == len(instructions)
        where = "after the last command" if last else f"before `{instructions[at].name}`"
        called = "at_the_end" if last else f"before_{at + 1}_{_slug(instructions[at].name)}"
        yield Strike(StrikeKind.QEMU_DIES, at), f"qemu_dies_{called}", f"QEMU is killed {where}"
        yield (
            Strike(StrikeKind.CLIENT_DIES, at),
            f"client_dies_{called}",
            f"the client dies {where}",
        )


def _broken(setting: Setting | BackSetting, strike: Strike | None) -> tuple[Broken, ...] | None:
    """The disks that are to fail; None: there is no way to have that operation fail alone."""
    if strike is None or strike.kind is not StrikeKind.FAIL:
        return ()
    operations = setting.instructions[strike.at].operations
    operation = operations[strike.operation]
    disk = setting.disks.index(operation.disk)
    event = _EVENTS.get(operation.kind, "")
    if not event or (event == "cluster_alloc" and _allocates_before(setting, strike, operation)):
        return None
    return (Broken(disk, event, operation.kind),)


def _allocates_before(setting: Setting | BackSetting, strike: Strike, operation: Operation) -> bool:
    """Whether something before it allocates clusters in the same image, and would fail in its place."""
    earlier = [
        each for instruction in setting.instructions[: strike.at] for each in instruction.operations
    ]
    earlier += setting.instructions[strike.at].operations
    return any(
        each is not operation and each.disk == operation.disk and each.kind in _EVENTS
        for each in earlier
    )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")
