"""What a case came to, as a value and as the text of a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum

from attrs import field, frozen

from planner.compare.comparison import Measurement
from planner.compare.rehearsal import Span
from planner.errors import BadInput, Problem, SnapplanError
from planner.experiment.experiment import Case, Value
from planner.model.strict import strict_converter, structured, write_with_hyphens

__all__ = [
    "CaseResult",
    "Explored",
    "Measured",
    "Ran",
    "State",
    "came_to_nothing",
    "measurement_of",
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
class Measured:
    """Figures of a snapshot of a real VM; microseconds, as `planner.compare.comparison.Measurement`.

    Attributes:
        qemu_version: QEMU's.
        file_system: The kind that the images were on.
    """

    qemu_version: str
    file_system: str
    pause_us: int | None
    total_us: int
    longest_us: int
    longest_command: str
    silence_us: int
    vm_state_bytes: int
    grown_bytes: int
    spans: tuple[Span, ...]
    stops: tuple[tuple[str, int], ...]


@frozen
class Explored:
    """What every run of a design comes to."""

    violated: tuple[str, ...]
    finished: bool
    states: int
    transitions: int
    depth: int


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
    """

    case: str
    settings: Mapping[str, Value]
    round: int
    state: State
    problems: tuple[Problem, ...] = ()
    measured: Measured | None = None
    explored: Explored | None = None
    ran: Ran | None = None
    format_version: int = field(default=_FORMAT_VERSION)


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
for _kind in (Measured, Explored, CaseResult, Ran, Span, Problem):
    write_with_hyphens(_CONVERTER, _kind)


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


def problems_of(error: SnapplanError) -> tuple[Problem, ...]:
    """What an error says, as problems; its own words where it names none."""
    return error.problems or (Problem(error.code, "", error.message),)


def measurement_of(measured: Measured) -> Measurement:
    """The same figures, as what compares designs takes them."""
    return Measurement(
        pause_us=measured.pause_us,
        total_us=measured.total_us,
        longest_us=measured.longest_us,
        longest_command=measured.longest_command,
        silence_us=measured.silence_us,
        vm_state_bytes=measured.vm_state_bytes,
        grown_bytes=measured.grown_bytes,
        spans=measured.spans,
        pauses=measured.stops,
    )
