"""The one tree of errors.

    SnapplanError
    ├── BadInput          2    a request, facts, plan or address that cannot be read
    ├── Refused          10    cannot be done safely; nothing was sent to the VM but queries
    ├── VmChanged        11    the VM is no longer what was planned for; nothing but queries was sent
    ├── CannotConnect    12    no QMP peer, or one that does not speak QMP
    ├── RunFailed        20    a step failed; all of it was undone
    │   ├── UndoIncomplete   21    something of it is still there; the error says what and where
    │   ├── OutcomeUnknown   22    the VM could not be asked what became of the last step
    │   └── Interrupted     130    stopped by the user; all of it was undone
    ├── Violation        30    a program breaks an ordering rule
    └── InternalError     1    a bug in snapplan

Rules of this module: an error carries a stable ``code`` (what a script matches on), an
``exit_code`` (`specs/exit-codes.md`), the ``problems`` that caused it as data, and ``vm_state``: one
sentence on the state that the VM is in now.  Errors of libraries are translated into this tree once,
where they enter, and never travel further.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import ClassVar, Self

from attrs import frozen

__all__ = [
    "BadInput",
    "CannotConnect",
    "InternalError",
    "Interrupted",
    "OutcomeUnknown",
    "Problem",
    "Refused",
    "RunFailed",
    "SnapplanError",
    "UndoIncomplete",
    "Violation",
    "VmChanged",
    "in_order",
]


@frozen(order=True)
class Problem:
    """One thing that is wrong, as data.

    Attributes:
        code: Stable identifier, listed in `specs/exit-codes.md`.
        subject: The disk, key, step or file that it is about; empty when it is about the whole.
        message: What is wrong, in one sentence.
        remedy: What the reader can do about it; empty when nothing is known to help.
    """

    code: str
    subject: str = ""
    message: str = ""
    remedy: str = ""

    @property
    def words(self) -> str:
        """What is wrong and with what, without code and remedy: the message of its only error."""
        return f"{self.subject}: {self.message}" if self.subject else self.message

    def __str__(self) -> str:
        text = f"[{self.code}] {self.words}"
        if self.remedy:
            text += f" ({self.remedy})"
        return text


_ORDER = attrgetter("code", "subject", "message", "remedy")


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Problems by code, subject and words, each once."""
    return tuple(sorted(set(problems), key=_ORDER))


class SnapplanError(Exception):
    """Root of the tree: something that snapplan says to its user in one place.

    Attributes:
        message: What happened, in one sentence.
        code: Stable identifier of the kind of error; each problem has its own code beside it.
        problems: Every cause, in a canonical order.
        vm_state: One sentence on the state that the VM is in now.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "internal-error"
    default_vm_state: ClassVar[str] = "The VM was not touched."

    def __init__(
        self,
        message: str,
        *,
        problems: tuple[Problem, ...] = (),
        code: str = "",
        vm_state: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems
        self.code = code or self.default_code
        self.vm_state = vm_state or self.default_vm_state

    def __str__(self) -> str:
        """The message, and each problem in a line of its own: an error that nobody catches says all."""
        told = [each for each in self.problems if each.words != self.message or each.remedy]
        return "\n".join((self.message, *(f"  - {problem}" for problem in told)))

    @classmethod
    def of(cls, problem: Problem) -> Self:
        """The error of one problem: its words and its code are the problem's."""
        return cls(problem.words, problems=(problem,), code=problem.code)

    def as_problems(self, subject: str = "") -> tuple[Problem, ...]:
        """Its problems; its own words where it names none.

        Args:
            subject: What its own words are about.
        """
        return self.problems or (Problem(self.code, subject, self.message),)


class BadInput(SnapplanError):
    """A request, facts file, plan file or address cannot be read.  Nothing was sent to any VM."""

    exit_code = 2
    default_code = "bad-input"


class Refused(SnapplanError):
    """What is asked for cannot be done safely.  The VM was asked questions at most."""

    exit_code = 10
    default_code = "refused"


class VmChanged(SnapplanError):
    """The VM is not what the plan was made for.  The VM was asked questions at most."""

    exit_code = 11
    default_code = "vm-changed"


class CannotConnect(SnapplanError):
    """Nobody answers at the address, or what answers does not speak QMP."""

    exit_code = 12
    default_code = "cannot-connect"


class RunFailed(SnapplanError):
    """A step of a run failed.  All that the run did is undone; the guest runs as it did before.

    Attributes:
        run_state: The VM's run state now, in QEMU's word; empty: it was not asked, or cannot be.
        undone: What was undone, in order, in words.
        left: What is still there, or cannot be known; `problems` has these too.
        pause_us: How long the guest stood still, in microseconds, from its first STOP to its last
            RESUME; None where not both were seen.
    """

    exit_code = 20
    default_code = "run-failed"

    def __init__(  # noqa: PLR0913 - each is a fact of its own
        self,
        message: str,
        *,
        problems: tuple[Problem, ...] = (),
        code: str = "",
        vm_state: str = "",
        run_state: str = "",
        undone: tuple[str, ...] = (),
        left: tuple[Problem, ...] = (),
        pause_us: int | None = None,
    ) -> None:
        super().__init__(message, problems=problems, code=code, vm_state=vm_state)
        self.run_state = run_state
        self.undone = undone
        self.left = left
        self.pause_us = pause_us


class UndoIncomplete(RunFailed):
    """A run failed, and something of it is still there; the problems say what and where."""

    exit_code = 21
    default_code = "undo-incomplete"


class OutcomeUnknown(RunFailed):
    """A run failed, and the VM cannot be asked what became of the last step.

    It arises when the connection broke after a command was sent and could not be made again, or
    when QEMU answers nothing within the deadline.  What *cannot be known* then is whether that step
    took effect: a QMP time-out does not mean that QEMU died (fact 38).
    """

    exit_code = 22
    default_code = "outcome-unknown"


class Interrupted(RunFailed):
    """The user stopped the run.  All that it did is undone."""

    exit_code = 130
    default_code = "interrupted"


class Violation(SnapplanError):
    """A program breaks an ordering rule; each problem names the rule and the step."""

    exit_code = 30
    default_code = "rule-violated"


class InternalError(SnapplanError):
    """A bug in snapplan: one of its own invariants does not hold."""

    exit_code = 1
