"""What is linted, and what comes of it, as data."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from planner.errors import Problem

__all__ = ["Command", "Finding", "Listing", "LintReport", "Said"]


@frozen
class Said:
    """An event in a recorded session."""

    line: int
    event: str
    data: Mapping[str, object] = field(factory=dict, hash=False)


@frozen
class Command:
    """One command of a sequence.

    Attributes:
        line: Where it begins, from 1; in a plan the step's number.
        execute: Its name.
        arguments: Its arguments.
        answered: Whether a recording holds its answer.
        refused: QEMU's error text in the recording; empty where it has none.
        reply: What the recording says that came back.
        malformed: Why QEMU takes it for no command, in QEMU's words; empty: it is one.
        out_of_band: Whether it is an `exec-oob`.
        foreign: It is no QMP command but what another program does, which is not known here.
        human: Whether it is a line of the human monitor that stands here as the QMP command it is.
    """

    line: int
    execute: str
    arguments: Mapping[str, object] = field(factory=dict, hash=False)
    answered: bool = False
    refused: str = ""
    reply: object = None
    malformed: str = ""
    foreign: bool = False
    out_of_band: bool = False
    human: bool = False


@frozen
class Listing:
    """A sequence of commands as read.

    Attributes:
        entries: Commands and events, in order.
        source: The file's name.
        kind: ``lines`` (JSON or qmp-shell) or ``plan``.
        version: QEMU's version in a recorded greeting, or as somebody says, as "major.minor" with
            or without the third number; else empty.
        given_up: Ids of the snapshots that a plan's request gives up, by disk.
        left_out: Disks that a plan's request leaves out in so many words.
        starts_paused: Whether a plan is for a paused VM.
        ends_paused: Whether a plan is to leave the VM paused.
        passed_over: What of the text was not read, in clauses.
    """

    entries: tuple[Command | Said, ...]
    source: str = "program"
    kind: str = "lines"
    version: str = ""
    given_up: frozenset[tuple[str, str]] = frozenset()
    left_out: frozenset[str] = frozenset()
    starts_paused: bool = False
    ends_paused: bool = False
    passed_over: tuple[str, ...] = ()

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands alone."""
        return tuple(entry for entry in self.entries if isinstance(entry, Command))


@frozen(order=True)
class Finding:
    """One thing that is wrong with a sequence.

    Attributes:
        line: The line of the command that is wrong; 0: the whole.
        rule: Id of a rule of `specs/invariants.md`, or a code of `specs/exit-codes.md`.
        execute: The command.
        message: What is wrong and why.
        remedy: What would be right.
    """

    line: int
    rule: str
    execute: str
    message: str
    remedy: str = ""

    def problem(self) -> Problem:
        """The finding as a problem of the one tree of errors."""
        where = f"line {self.line} ({self.execute})" if self.line else "the whole"
        return Problem(self.rule, where, self.message, self.remedy)


@frozen
class LintReport:
    """What a lint found.

    Attributes:
        source: The file's name.
        kind: As in `Listing`.
        commands: How many commands were read.
        findings: What is wrong, by line.
        unchecked: What could not be checked, and what would be needed.
    """

    source: str
    kind: str
    commands: int
    findings: tuple[Finding, ...]
    unchecked: tuple[str, ...] = ()
