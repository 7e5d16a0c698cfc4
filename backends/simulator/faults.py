"""Faults as data, in the spirit of QEMU's blkdebug: *what* happens *where*, at the n-th match.

A rule names a command or a micro-step, and a fault.  Rules are checked when they are read: a fault
in a place where it cannot strike is refused with the reason, so that a test cannot be vacuous.  The
table of which fault may strike where, and what must then hold, is `specs/simulator.md`.

    - {fault: write-error, step: write-vmstate, node: disk0}
    - {fault: drop-after, command: transaction, nth: 2}
    - {fault: slow-reply, command: snapshot-save, delay-s: 0.2}
    - {fault: foreign-command, command: stop, foreign: {execute: cont}}
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from planner.errors import BadInput, Problem
from planner.host.input import read_text_file
from planner.model.text import read_text
from planner.semantics import MicroStep
from planner.semantics.commands import STEPS

__all__ = [
    "BACKGROUND_OPS",
    "WRITING_OPS",
    "Fault",
    "FaultRule",
    "FaultSet",
    "load_faults",
    "parse_faults",
]


class Fault(enum.Enum):
    """What goes wrong."""

    ERROR_REPLY = "error-reply"
    JOB_ERROR = "job-error"
    WRITE_ERROR = "write-error"
    DROP_BEFORE = "drop-before"
    DROP_AFTER = "drop-after"
    NO_REPLY = "no-reply"
    SLOW_REPLY = "slow-reply"
    STALL = "stall"
    DIE = "die"
    GARBAGE_REPLY = "garbage-reply"
    OVERSIZED_REPLY = "oversized-reply"
    FOREIGN_COMMAND = "foreign-command"


_BESIDE_THE_MAIN_LOOP = ("migration-", "background-", "block-commit-")
BACKGROUND_OPS = frozenset(op for op in STEPS if op.startswith(_BESIDE_THE_MAIN_LOOP))
WRITING_OPS = BACKGROUND_OPS | {
    "write-vmstate",
    "create-snapshot",
    "create-snapshot-with-vmstate",
    "clean-up-first-match",
    "delete-first-match",
    "goto-snapshot",
    "read-vmstate",
    "prepare-internal",
    "prepare-overlay",
    "abort-internal",
}
_JOB_OPS = frozenset({"check-save", "check-load", "check-delete", "conclude-job"})
_AT_STEPS: dict[Fault, frozenset[str]] = {
    Fault.WRITE_ERROR: WRITING_OPS,
    Fault.JOB_ERROR: _JOB_OPS,
    Fault.DIE: frozenset(STEPS),
    Fault.FOREIGN_COMMAND: BACKGROUND_OPS,
}
_NOT_AT_COMMANDS = frozenset({Fault.WRITE_ERROR, Fault.JOB_ERROR})
_KEYS = frozenset(
    {
        "fault",
        "command",
        "step",
        "node",
        "nth",
        "times",
        "error",
        "error-class",
        "delay-s",
        "size-bytes",
        "foreign",
    }
)
_DEFAULT_TEXT = "Input/output error"
_LONGEST_DELAY_S = 3600.0
_LARGEST_REPLY_BYTES = 2**30


@frozen
class FaultRule:
    """One fault.

    Attributes:
        fault: What goes wrong.
        command: The command at which it does, ``*`` for any; empty if at a step.
        step: The micro-step at which it does; empty if at a command.
        node: Only where the step works on this node; empty for any.
        nth: At which match it begins, from 1.
        times: For how many matches; 0 for all that follow.
        error: The error's text.
        error_class: The error reply's class.
        delay_s: How long a slow reply or a stall takes, in seconds; 0 stalls for ever.
        size_bytes: Size of an oversized reply.
        foreign: The command that another client sends, as (name, arguments).
    """

    fault: Fault
    command: str = ""
    step: str = ""
    node: str = ""
    nth: int = 1
    times: int = 1
    error: str = _DEFAULT_TEXT
    error_class: str = "GenericError"
    delay_s: float = 0.05
    size_bytes: int = 16 * 2**20
    foreign: tuple[str, Mapping[str, object]] = ("cont", {})


@define
class FaultSet:
    """The rules of one run, and how often each has matched."""

    rules: tuple[FaultRule, ...] = ()
    _matches: list[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._matches = [0] * len(self.rules)

    def at_command(self, name: str) -> FaultRule | None:
        """The rule that strikes at this command now; counts the match."""
        return self._first(lambda rule: rule.command in {"*", name} if rule.command else False)

    def at_step(self, step: MicroStep) -> FaultRule | None:
        """The rule that strikes at this micro-step now; counts the match."""
        return self._first(lambda rule: rule.step == step.op and rule.node in {"", step.node})

    def _first(self, matches: Any) -> FaultRule | None:
        struck = None
        for number, rule in enumerate(self.rules):
            if not matches(rule):
                continue
            self._matches[number] += 1
            count = self._matches[number]
            last = rule.nth + rule.times - 1 if rule.times else count
            if struck is None and rule.nth <= count <= last:
                struck = rule
        return struck


# --- reading -------------------------------------------------------------------------


def load_faults(path: Path) -> tuple[FaultRule, ...]:
    """Read fault rules from a YAML or JSON file.

    Raises:
        BadInput: It cannot be read, or is not a list of rules that make sense; all problems at once.
    """
    return parse_faults(read_text(read_text_file(str(path)), str(path)).value)


def parse_faults(data: object) -> tuple[FaultRule, ...]:
    """Fault rules from plain data: a list of mappings.

    Raises:
        BadInput: A rule makes no sense; every problem of every rule is told.
    """
    if not isinstance(data, list):
        raise BadInput("fault rules must be a list of mappings")
    problems: list[Problem] = []
    rules = [_rule(number, entry, problems) for number, entry in enumerate(data, start=1)]
    if problems:
        told = "; ".join(f"{problem.subject}: {problem.message}" for problem in problems)
        raise BadInput(f"fault rules that make no sense: {told}", problems=tuple(problems))
    return tuple(rule for rule in rules if rule is not None)


def _rule(number: int, entry: object, problems: list[Problem]) -> FaultRule | None:
    def wrong(message: str) -> None:
        problems.append(Problem("bad-fault-rule", f"rule {number}", message))

    if not isinstance(entry, dict):
        wrong("must be a mapping")
        return None
    before = len(problems)
    for key in sorted(set(map(str, entry)) - _KEYS):
        wrong(f"unknown key {key!r}; known: {', '.join(sorted(_KEYS))}")
    for message in (*_type_problems(entry), *_place_problems(entry)):
        wrong(message)
    if len(problems) > before:
        return None
    foreign = entry.get("foreign", {"execute": "cont"})
    return FaultRule(
        fault=Fault(entry["fault"]),
        foreign=(foreign["execute"], foreign.get("arguments", {})),
        **{
            key.replace("-", "_"): entry[key]
            for key in _KEYS - {"fault", "foreign"}
            if key in entry
        },
    )


def _type_problems(entry: Mapping[str, Any]) -> Iterable[str]:
    for key in ("command", "step", "node", "error", "error-class"):
        if not isinstance(entry.get(key, ""), str):
            yield f"{key} must be text"
    bounds = (("nth", 1, 10**9), ("times", 0, 10**9), ("size-bytes", 1, _LARGEST_REPLY_BYTES))
    for key, least, most in bounds:
        value = entry.get(key, least)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            yield f"{key} must be a whole number from {least} to {most}"
    delay = entry.get("delay-s", 0.0)
    if not isinstance(delay, int | float) or not 0 <= delay <= _LONGEST_DELAY_S:
        yield f"delay-s must be seconds from 0 to {_LONGEST_DELAY_S:g}"
    foreign = entry.get("foreign", {"execute": "cont"})
    if not isinstance(foreign, dict) or not isinstance(foreign.get("execute"), str):
        yield "foreign must be a mapping with `execute`"


def _place_problems(entry: Mapping[str, Any]) -> Iterable[str]:
    names = {fault.value: fault for fault in Fault}
    fault = names.get(str(entry.get("fault")))
    if fault is None:
        yield f"fault must be one of {', '.join(names)}"
        return
    command, step = entry.get("command", ""), entry.get("step", "")
    if bool(command) == bool(step):
        yield "needs either `command` or `step`"
    elif step:
        yield from _step_problems(fault, str(step))
    elif fault in _NOT_AT_COMMANDS:
        yield f"{fault.value} strikes at a `step`, not at a command"
    elif not re.fullmatch(r"\*|[A-Za-z][A-Za-z0-9_-]*", str(command)):
        yield f"{command!r} is no command name"


def _step_problems(fault: Fault, step: str) -> Iterable[str]:
    if step not in STEPS:
        yield f"unknown step {step!r}; known: {', '.join(sorted(STEPS))}"
    elif fault not in _AT_STEPS:
        yield f"{fault.value} strikes at a `command`, not at a step"
    elif step not in _AT_STEPS[fault]:
        usable = ", ".join(sorted(_AT_STEPS[fault]))
        yield f"{fault.value} cannot strike at {step!r}: only at {usable}"
