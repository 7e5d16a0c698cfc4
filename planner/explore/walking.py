"""One run of a design, from its beginning to its end, with one thing that strikes it, or none.

The search looks at every run.  This follows one: where the model leaves a choice, the first that is no
fault and no work of the guest's is taken, so the run is the one that a QEMU takes whose guest stands in
its firmware.  What the run leaves is what the model says that this QEMU leaves.

Rules: pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import partial
from typing import TypeVar

from attrs import evolve, frozen

from planner.errors import InternalError
from planner.explore.acts import Act, Action, ClientDeath, ClientPhase
from planner.explore.back import BackSetting, BackState
from planner.explore.back_moves import BackMoves
from planner.explore.end import End
from planner.explore.layers import own_parts
from planner.explore.line import CLIENT, Line
from planner.explore.moves import Moves, Reductions
from planner.explore.search import StoryMove
from planner.explore.state import Setting, State
from planner.explore.story import tell
from planner.explore.vm_moves import bits

__all__ = ["Deed", "Left", "Strike", "StrikeKind", "Walk", "walk", "walk_back"]

_LONGEST = 500
_State = TypeVar("_State", State, BackState)
_Step = TypeVar("_Step")


class StrikeKind(StrEnum):
    """What can strike a real QEMU that a test has to itself."""

    REFUSE = "refuse"
    """The command fails before it does anything."""
    FAIL = "fail"
    """An operation inside it fails."""
    QEMU_DIES = "qemu-dies"
    """QEMU is killed before the command is sent."""
    CLIENT_DIES = "client-dies"
    """The client sends nothing more."""


@frozen
class Strike:
    """What strikes, and where.

    Attributes:
        kind: What it is.
        at: The number of the instruction, or of the one that is next; their count: after the last.
        operation: The number of its operation that fails.
    """

    kind: StrikeKind
    at: int
    operation: int = -1


@frozen
class Deed:
    """What the client does, or what is done to QEMU; what QEMU does by itself is no deed.

    Attributes:
        what: ``send``, ``refuse``, ``fail``, ``delete``, ``repair``, ``cont``, ``stop``, ``kill``,
            ``cancel-copy``, ``close-copy``, ``remove-copy``; or ``say``.
        number: Of the instruction, or of the disk.
        says: The line of the story.
    """

    what: str
    number: int
    says: str


@frozen
class Left:
    """What the run leaves, as QMP and qemu-img show it.

    Attributes:
        parts: By disk, how many snapshots of the tag it holds.
        running: Whether the guest runs; None: QEMU is gone.
        saved: By disk, whether it reads as the snapshot; empty: the design goes back to none.
        done: Whether the client says that all is done.
        copies: Of each disk that is copied: its number, whether the copy's node and its file are there.
    """

    parts: tuple[int, ...]
    running: bool | None
    saved: tuple[bool, ...]
    done: bool
    copies: tuple[tuple[int, bool, bool], ...] = ()


@frozen
class Walk:
    """A run."""

    deeds: tuple[Deed, ...]
    left: Left


def walk(setting: Setting, strike: Strike | None = None) -> Walk | None:
    """A run of a design that saves; None: the strike cannot come.

    Args:
        setting: What is explored; how much may strike is decided here.
        strike: What strikes; None: nothing.
    """
    setting = evolve(setting, faults=int(strike is not None), client_death=_death(strike))
    moves = Moves(setting, Reductions(symmetry=False))
    strikes = None if strike is None else partial(_strikes, strike)
    taken = _follow(moves.start(), moves.of, strikes, _quiet)
    if taken is None:
        return None
    done = [StoryMove(*each) for each in taken]
    state = done[-1].after
    lines = tell(setting, moves.layers, done)
    deeds = (deed for move, line in zip(done, lines, strict=True) for deed in _deeds(move, line))
    end = End.of(setting, state, moves.layers)
    parts = tuple(len(own_parts(image)) for image in end.images)
    running = None if state.dead else state.running
    copies = tuple(
        (disk, bool(state.copy.targets >> disk & 1), bool(state.outside.files >> disk & 1))
        for disk in bits(setting.copies)
    )
    return Walk(tuple(deeds), Left(parts, running, (), end.done, copies))


def _follow(
    state: _State,
    of: Callable[[_State], Iterable[tuple[_Step, _State]]],
    strikes: Callable[[_Step, _State, _State], bool] | None,
    quiet: Callable[[_Step], bool],
) -> list[tuple[_Step, _State, _State]] | None:
    """The steps of one run, each with the states before and after it; None: the strike cannot come.

    Args:
        state: The first.
        of: The steps from a state.
        strikes: Whether a step is the strike, which is taken as soon as it can be; None: there is none.
        quiet: Whether a step is no fault, and no work of the guest's.
    """
    taken: list[tuple[_Step, _State, _State]] = []
    struck = strikes is None
    while state.phase < ClientPhase.DONE:
        if len(taken) > _LONGEST:
            raise InternalError("a run of a design does not end")
        choices = list(of(state))
        chosen = None
        if strikes is not None and not struck:
            chosen = next((each for each in choices if strikes(each[0], state, each[1])), None)
            struck = chosen is not None
        if chosen is None:
            chosen = next(each for each in choices if quiet(each[0]))
        taken.append((chosen[0], state, chosen[1]))
        state = chosen[1]
    return taken if struck else None


def _death(strike: Strike | None) -> ClientDeath:
    dies = strike is not None and strike.kind is StrikeKind.CLIENT_DIES
    return ClientDeath.FOR_GOOD if dies else ClientDeath.NEVER


def _strikes(strike: Strike, action: Action, state: State, after: State) -> bool:
    del after
    between = state.phase == ClientPhase.STEPPING and not state.sent and state.at == strike.at
    match strike.kind:
        case StrikeKind.REFUSE:
            return action.act == Act.REFUSE and action.first == strike.at
        case StrikeKind.FAIL:
            return action == Action(Act.FAIL, strike.at, strike.operation)
        case StrikeKind.QEMU_DIES:
            return action.act == Act.DIE and between
        case _:
            return action.act == Act.CLIENT_DIES and between


def _quiet(action: Action) -> bool:
    return action.act is not Act.GUEST and not action.act.is_fault


def _deeds(move: StoryMove, line: Line) -> Iterator[Deed]:
    act, first = move.action.act, move.action.first
    what = {
        Act.SEND: "send",
        Act.REFUSE: "refuse",
        Act.FAIL: "fail",
        Act.DELETE: "delete",
        Act.REPAIR: "repair",
        Act.DIE: "kill",
    }.get(act, "say")
    if act == Act.RESTORE and move.before.running != move.after.running:
        what = "cont" if move.after.running else "stop"
    if act == Act.CANCEL_COPY:
        for disk in bits(move.before.copy.jobs & ~move.after.copy.jobs):
            yield Deed("cancel-copy", disk, line.text)
        return
    if act == Act.CLOSE_COPY:
        what = "close-copy"
    if act == Act.REMOVE_FILE and first < len(move.before.layers):
        what = "remove-copy"
    if what != "say" or act in (Act.CLIENT_DIES, Act.LOOK):
        yield Deed(what, first, line.text)


def walk_back(setting: BackSetting, strike: Strike | None = None) -> Walk | None:
    """The same of a design that loads or deletes."""
    setting = evolve(setting, faults=int(strike is not None), client_death=_death(strike))
    moves = BackMoves(setting)
    strikes = None if strike is None else partial(_strikes_back, setting, strike)
    taken = _follow(setting.start(), moves.of, strikes, lambda line: not line.fault)
    if taken is None:
        return None
    deeds = tuple(deed for each in taken for deed in _back_deeds(*each))
    state = taken[-1][2]
    parts = tuple(state.held >> disk & 1 for disk in range(len(setting.disks)))
    saved = tuple(bool(state.saved >> disk & 1) for disk in range(len(setting.disks)))
    running = None if state.dead else state.running
    return Walk(deeds, Left(parts, running, saved, state.phase == ClientPhase.DONE))


def _strikes_back(
    setting: BackSetting, strike: Strike, line: Line, before: BackState, after: BackState
) -> bool:
    here = before.at == strike.at and before.phase == ClientPhase.STEPPING
    if not line.fault or not here:
        return False
    match strike.kind:
        case StrikeKind.QEMU_DIES:
            return after.dead and not before.sent
        case StrikeKind.CLIENT_DIES:
            return after.phase == ClientPhase.ORPHANED and not before.sent
        case StrikeKind.REFUSE:
            # a lost connection looks the same to the states: it is the line that tells
            return not before.sent and line.source == CLIENT and line.brief.endswith("refused")
        case _:
            operation = setting.instructions[strike.at].operations[strike.operation]
            failed = after.failing and not before.failing
            brief = f"{operation.kind}: error"
            return failed and line.target == operation.disk and line.brief == brief


def _back_deeds(line: Line, before: BackState, after: BackState) -> Iterator[Deed]:
    if after.sent and not before.sent:
        yield Deed("send", before.at, line.text)
    elif line.fault and after.dead:
        yield Deed("kill", before.at, line.text)
    elif line.fault and after.failing:
        yield Deed("fail", before.at, line.text)
    elif line.fault and after.phase == ClientPhase.LOOKING:
        yield Deed("refuse", before.at, line.text)
    elif after.running and not before.running and line.source == CLIENT:
        yield Deed("cont", 0, line.text)
    elif line.source == CLIENT:
        yield Deed("say", 0, line.text)
