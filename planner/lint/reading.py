"""A sequence of QMP commands from text: JSON lines, a recorded session, a qmp-shell script, a plan.

Rules: what cannot be read is reported, never skipped in silence.  JSON may span lines, as a pretty
log does.  Of a recorded session, a command's own error and answer, QEMU's version and the events are
used; other output is not.  Lines may carry a client's and a server's arrow, as QEMU's documents
write them.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, evolve, field

from planner.compile.plan import Plan
from planner.errors import BadInput, Problem
from planner.lint.program import Command, Listing, Said
from planner.lint.shell import Shell, greeting, looks_typed
from planner.model.request import RunStateAfter
from planner.model.text import json_object
from planner.program.program import Step, Target, looks_of

__all__ = ["listing_of_plan", "read_listing"]

_ARROWS = ("->", "<-", "C:", "S:")
_SHOWN = 10


def read_listing(text: str, source: str = "program") -> Listing:
    """Read a sequence of commands.

    Args:
        text: JSON lines, a recorded session or a qmp-shell script.
        source: The file's name, for messages.

    Raises:
        BadInput: A line is none of these (``program-unreadable``), or there is no command in it.
    """
    reader = _Reader()
    reader.read(text)
    if reader.shell.begun:
        reader.bad(reader.shell.begun, "this transaction( is never closed by )")
    if not reader.problems and not any(isinstance(e, Command) for e in reader.entries):
        reader.bad(0, "there is no QMP command in it")
    if reader.problems:
        shown = tuple(reader.problems[:_SHOWN])
        raise BadInput(
            f"{source} cannot be read as a sequence of QMP commands",
            problems=shown,
            code="program-unreadable",
        )
    return Listing(tuple(reader.entries), source, version=reader.version)


@define
class _Reader:
    """What was read so far."""

    entries: list[Command | Said] = field(factory=list)
    problems: list[Problem] = field(factory=list)
    shell: Shell = field(factory=Shell)
    ids: dict[str, int] = field(factory=dict)
    answered: int = 0
    version: str = ""

    def bad(self, line: int, why: str) -> None:
        where = f"line {line}" if line else "the whole"
        self.problems.append(Problem("program-unreadable", where, why))

    def read(self, text: str) -> None:
        lines = text.splitlines()
        number = 0
        while number < len(lines):
            line = _without_arrow(lines[number])
            if line.startswith("{"):
                number += self._json(lines, number)
                continue
            if line and not line.startswith(("#", "//")):
                self._typed(number + 1, line)
            number += 1

    def _json(self, lines: list[str], first: int) -> int:
        """Read one JSON object, over as many lines as it takes; how many that were."""
        collected = ""
        for count, line in enumerate(lines[first:], start=1):
            stripped = _without_arrow(line)
            if count > 1 and not collected.count("{") > collected.count("}"):
                break
            collected += stripped + "\n"
            value = json_object(collected)
            if value is not None:
                self._object(first + 1, value)
                return count
        self.bad(first + 1, f"this is no JSON object: {lines[first].strip()[:60]}")
        return 1

    def _object(self, line: int, value: dict[str, object]) -> None:
        name = value.get("execute", value.get("exec-oob"))
        if isinstance(name, str):
            self._add(line, name, value.get("arguments", {}), value.get("id"))
        elif "return" in value or "error" in value:
            self._answer(value)
        elif isinstance(value.get("event"), str):
            data = value.get("data", {})
            plain = data if isinstance(data, Mapping) else {}
            self.entries.append(Said(line, str(value["event"]), plain))
        elif "QMP" in value:
            self.version = _greeted_version(value["QMP"])
        else:
            self.bad(line, "this object is no QMP command, answer, event or greeting")

    def _add(self, line: int, name: str, arguments: object, command_id: object) -> None:
        if not isinstance(arguments, Mapping):
            self.bad(line, f"the arguments of {name} are no object")
            return
        if command_id is not None:
            self.ids[str(command_id)] = len(self.entries)
        self.entries.append(Command(line, name, dict(arguments)))

    def _answer(self, value: Mapping[str, object]) -> None:
        at = self.ids.get(str(value.get("id"))) if "id" in value else self._first_unanswered()
        if at is None:
            return
        command = self.entries[at]
        if isinstance(command, Command):
            error = value.get("error")
            refused = "" if error is None else _words_of(error)
            self.entries[at] = evolve(
                command, answered=True, refused=refused, reply=value.get("return")
            )

    def _first_unanswered(self) -> int | None:
        # QEMU answers in order, so what is answered next is the first command without an answer.
        while self.answered < len(self.entries):
            entry = self.entries[self.answered]
            if isinstance(entry, Command) and not entry.answered:
                return self.answered
            self.answered += 1
        return None

    def _typed(self, number: int, line: str) -> None:
        told = greeting(line)
        if told is not None:
            self.version = told or self.version
            return
        if not looks_typed(line):
            self.bad(number, f"neither a QMP message nor a qmp-shell line: {line[:60]}")
            return
        try:
            command = self.shell.take(number, line)
        except (ValueError, RecursionError) as error:
            self.bad(number, f"no qmp-shell line: {error}")
            return
        if command is not None:
            self._add(*command, None)


def _without_arrow(line: str) -> str:
    stripped = line.strip()
    for arrow in _ARROWS:
        if stripped.startswith(arrow):
            return stripped[len(arrow) :].strip()
    return stripped


def _words_of(error: object) -> str:
    desc = error.get("desc") if isinstance(error, Mapping) else None
    return str(desc or "an error")


def _greeted_version(greeting: object) -> str:
    try:
        numbers = greeting["version"]["qemu"]  # type: ignore[index]
        return "{major}.{minor}.{micro}".format(**numbers)
    except (KeyError, TypeError):
        return ""


# --- a plan ---------------------------------------------------------------------------------------


def listing_of_plan(plan: Plan, source: str) -> Listing:
    """A plan's commands, with the questions by which a run sees what became of each step.

    The line of a command is the number of its step.
    """
    resolution = plan.program.resolution
    entries = [
        command
        for number, step in enumerate(plan.program.steps, start=1)
        if step.target is Target.QMP
        for command in _with_looks(number, step)
    ]
    return Listing(
        tuple(entries),
        source,
        kind="plan",
        given_up=frozenset((old.root, old.id) for old in resolution.replaced),
        left_out=frozenset(resolution.excluded),
        starts_paused=resolution.run_state_before is RunStateAfter.PAUSED,
        ends_paused=resolution.run_state_after is RunStateAfter.PAUSED,
    )


def _with_looks(number: int, step: Step) -> list[Command]:
    looks = ((look, dict(arguments)) for look, arguments in looks_of(step))
    return [
        Command(number, step.execute, step.arguments),
        *(Command(number, look, arguments) for look, arguments in looks),
    ]
