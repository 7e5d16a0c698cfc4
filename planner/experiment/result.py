"""What a case came to, as a value and as the text of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum

from attrs import field, frozen

from planner.compare.comparison import Measurement
from planner.compare.rehearsal import Span
from planner.errors import BadInput, Problem
from planner.experiment.experiment import Case, Value, round_words
from planner.model.strict import strict_converter, structured, write_with_hyphens

__all__ = [
    "CaseResult",
    "Crashed",
    "Difference",
    "Explored",
    "Lockstepped",
    "Measured",
    "Ran",
    "SequenceEnd",
    "State",
    "came_to_nothing",
    "read_result",
    "result_text",
]

_FORMAT_VERSION = 1


class State(StrEnum):
    """How a case ended."""

    DONE = "done"
    REFUSED = "refused"
    """It cannot be done, and would be refused again: a result as any other."""
    FAILED = "failed"
    """It came to nothing; the next run tries it again."""


@frozen
class Ran:
    """Where and when a case was run; of two runs of one case these differ.

    Attributes:
        host: The machine's name.
        machine: Its processor and its kernel.
        cpus: How many processors it has.
        load: Its load (the mean of a minute) when the case began.
        began_s: When that was, in seconds since the epoch.
        seconds: How long the case took.
        snapplan: The version of snapplan.
    """

    host: str
    machine: str
    cpus: int
    load: float
    began_s: float
    seconds: float
    snapplan: str


@frozen
class Measured(Measurement):
    """Figures of a snapshot of a real VM.

    Attributes:
        qemu_version: QEMU's.
        file_system: The kind that the images were on.
    """

    qemu_version: str = field(kw_only=True)
    file_system: str = field(kw_only=True)


@frozen
class Explored:
    """What every run of a design comes to."""

    violated: tuple[str, ...]
    finished: bool
    states: int
    transitions: int
    depth: int


class SequenceEnd(StrEnum):
    """Where a sequence of commands on two QEMUs ends."""

    WHOLE = "whole"
    """All commands were sent, and both showed the same."""
    DIFFERS = "differs"
    """The first command whose effects are not the same."""
    NOT_MODELLED = "not-modelled"
    """The simulated QEMU says that it does not model a command."""
    QEMU_ENDED = "qemu-ended"
    """Both QEMUs have ended, as that command has them do."""


@frozen
class Difference:
    """One thing that a real QEMU and the simulated one show differently.

    Attributes:
        command: The command that it came with (JSON).
        what: What it is: the command's outcome, its events, or a part of what the VM shows.
        real: As the real QEMU shows it (JSON); of a list the members that differ.
        simulated: As the simulated one shows it.
    """

    command: str
    what: str
    real: str
    simulated: str


@frozen
class Lockstepped:
    """What the same commands came to on a real QEMU and on the simulated one.

    Attributes:
        end: Where the sequence ended.
        commands: How many commands both had.
        differences: All that the last of them showed differently.
        qemu_version: The real QEMU's.
    """

    end: SequenceEnd
    commands: int
    differences: tuple[Difference, ...]
    qemu_version: str


@frozen
class Crashed:
    """What recovery made of a save whose client was killed.

    Attributes:
        killed: Where that was: ``before COMMAND`` or ``after COMMAND``; empty: the save ended before.
        end: How the save has ended: ``done``, ``undone``, ``incomplete``, ``unknown``, or ``nothing``:
            it had not begun.
        left: What is there of it and should not be, in words.
        findings: What is wrong with the guest, with a snapshot that should be whole, or with an image.
        qemu_version: QEMU's.
    """

    killed: str
    end: str
    left: tuple[str, ...]
    findings: tuple[str, ...]
    qemu_version: str

    @property
    def whole(self) -> bool:
        """Whether the guest and all snapshots that should be there are whole."""
        return not self.findings


@frozen
class CaseResult:
    """One case that was run.

    Attributes:
        case: Its id.
        settings: Its values.
        round: Its round.
        state: How it ended.
        problems: Why it was refused or failed.
        measured: Its figures, where it was measured.
        explored: Its verdict, where it was explored.
        ran: Where and when; None: nobody can tell.
        lockstep: What two QEMUs showed, where they were compared.
        crash: What recovery came to, where a client was killed.
    """

    case: str
    settings: Mapping[str, Value]
    round: int
    state: State
    problems: tuple[Problem, ...] = ()
    measured: Measured | None = None
    explored: Explored | None = None
    ran: Ran | None = None
    lockstep: Lockstepped | None = None
    crash: Crashed | None = None
    format_version: int = field(default=_FORMAT_VERSION)

    @property
    def words(self) -> str:
        """Which case it is of, in a line."""
        return round_words(self.settings, self.round)


def _value(value: object, _: object) -> object:
    if type(value) not in (bool, int, str):
        raise TypeError(f"{str(value)[:60]!r} is no value of a setting")
    return value


def _number(value: object, _: object) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{str(value)[:60]!r} is no number")
    return float(str(value))


_CONVERTER = strict_converter()
_CONVERTER.register_structure_hook_func(lambda kind: kind == Value, _value)
_CONVERTER.register_structure_hook(float, _number)
for _kind in (Explored, Difference, Lockstepped, Crashed, CaseResult, Ran, Span, Problem):
    write_with_hyphens(_CONVERTER, _kind)
write_with_hyphens(_CONVERTER, Measured, called={"pauses": "stops"})


def result_text(result: CaseResult) -> str:
    """The text of a result's file (JSON)."""
    return json.dumps(_CONVERTER.unstructure(result), indent=1) + "\n"


def read_result(text: str, source: str) -> CaseResult:
    """Read a result's file.

    Raises:
        BadInput: It is none (``experiment-result-malformed``).
    """
    try:
        plain = json.loads(text)
        if isinstance(plain, dict):
            result = structured(_CONVERTER, plain, CaseResult)
            if result.format_version == _FORMAT_VERSION:
                return result
            why = f"its format-version is {result.format_version}, not {_FORMAT_VERSION}"
        else:
            why = "it is no JSON object"
    except (ValueError, RecursionError) as error:
        why = str(error) or type(error).__name__
    remedy = "remove the file: the next run tries that case again"
    raise BadInput.of(Problem("experiment-result-malformed", source, why, remedy))


def came_to_nothing(case: Case, problems: Sequence[Problem], state: State) -> CaseResult:
    """The result of a case that has no figures."""
    return CaseResult(case.id, dict(case.settings), case.round, state, tuple(problems))
