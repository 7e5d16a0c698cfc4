"""Whether QEMU has a command as it stands there: by the facts, by its version, or by any we know."""

from __future__ import annotations

from collections.abc import Iterator

from planner.lint.moment import Moment
from planner.lint.program import Finding
from planner.program.schema import COMMANDS, CommandSchema
from planner.semantics import PROFILES, schema_of

__all__ = ["schema_findings"]

_OPEN = ("device_add",)
_KNOWN_ELSEWHERE = ("transaction",)  # its actions have a rule of their own


def schema_findings(at: Moment, unchecked: dict[str, None]) -> Iterator[Finding]:
    """How a command does not fit this QEMU; where only some fit, `unchecked` gets a note."""
    facts = at.stage.facts
    if facts is not None and facts.schema and at.execute in COMMANDS:
        schema = CommandSchema.of(facts.schema)
        for problem in schema.problems(at.execute, at.command.arguments):
            if not _told_elsewhere(at, problem.subject):
                yield at.finding(problem.code, f"{problem.subject}: {problem.message}")
        return
    problems = {name: _problem(at, name) for name in _profiles(at)}
    wrong = {name: text for name, text in problems.items() if text}
    if wrong and len(wrong) == len(problems):
        rule, text = next(iter(wrong.values()))
        if not _told_elsewhere(at, text):
            yield at.finding(rule, text)
    elif wrong:
        names = ", ".join(wrong)
        (_, text), *_rest = wrong.values()
        unchecked[f"line {at.command.line}: {at.execute} as it stands there: not in QEMU {names} "
                  f"({text})"] = None  # fmt: skip


def _profiles(at: Moment) -> tuple[str, ...]:
    version = at.stage.version[:2]
    exact = [name for name, p in PROFILES.items() if p.version[:2] == version]
    return tuple(exact) or tuple(PROFILES)


def _problem(at: Moment, name: str) -> tuple[str, str] | None:
    schema = schema_of(name)
    if not schema.has_command(at.execute):
        return "command-lacking", f"QEMU {name} has no command {at.execute!r}"
    if at.execute in _OPEN:
        return None  # it takes the properties of any device, which introspection cannot tell
    text = schema.check(at.execute, at.command.arguments)
    return ("arguments-malformed", text) if text else None


def _told_elsewhere(at: Moment, where: str) -> bool:
    """A transaction's unknown action has a finding of its own."""
    return at.execute in _KNOWN_ELSEWHERE and "type" in where
