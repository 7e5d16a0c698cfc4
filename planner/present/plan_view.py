"""A plan for a person: what will happen, in which order, and why; on one screen."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import cast

from planner.compile.plan import Plan
from planner.model.operations import Kind
from planner.parts.kinds import MAKERS
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.program.program import Step, Target, UndoKind
from planner.program.resolution import Choice, Resolution

__all__ = ["plan_text", "qmp_lines"]

_ALWAYS = "disks"
"""The line that a plan has though there are none."""

_SHOWN = 6
"""How many of one kind, disks, steps, warnings, are shown before the rest is counted."""
_SHOWN_OF_MANY = 2
"""How many steps of one command are shown where there are more than that."""
_OF_MANY_DISKS = (Kind.SNAPSHOT_DISK, Kind.SWITCH_TO_OVERLAY)
_WHO = {Target.AGENT: "  (by the guest agent)"}


def plan_text(plan: Plan) -> str:
    """Explain a plan."""
    return as_lines([*_head(plan), "", *_choices(plan), "", *_steps(plan), "", *_foot(plan)])


def _head(plan: Plan) -> Iterator[str]:
    program, resolution = plan.program, plan.program.resolution
    yield f"Snapshot {resolution.tag!r}"
    yield from (f"  {line}" for line in plan.request.description.splitlines())
    yield f"  machine state  {_where(resolution)}"
    for making in MAKERS:
        disks = making.disks(resolution)
        if disks or making.label == _ALWAYS:
            yield f"  {making.label:<14} {_names([*disks])}"
    left_out = [*resolution.excluded, *(name for name, _ in resolution.outside)]
    if left_out:
        yield f"  left out       {_names(left_out)}"
    yield f"  design         {program.design}"
    for message in dict.fromkeys(problem.message for problem in program.not_chosen):
        yield f"                 not {message}"
    if not plan.is_daemon:
        yield f"  run state      {resolution.run_state_before} -> {resolution.run_state_after}"


def _where(resolution: Resolution) -> str:
    told = (making.state_words(resolution) for making in MAKERS)
    return next(filter(None, told), "none (disks only)")


def _choices(plan: Plan) -> Iterator[str]:
    yield "Why"
    alike: dict[tuple[str, str], list[Choice]] = {}
    for choice in plan.program.resolution.choices:
        kind = choice.value.partition(": ")[0]  # of an overlay without its path
        alike.setdefault((kind, choice.reason), []).append(choice)
    shown = [choice for group in alike.values() for choice in group[:_SHOWN]]
    yield table([_choice_row(c) for c in sorted(shown, key=lambda c: c.subject)], "  ")
    for (kind, reason), group in alike.items():
        if len(group) > _SHOWN:
            yield f"  and {len(group) - _SHOWN} more: {kind}, {reason}"
    warnings = plan.program.resolution.warnings
    for warning in warnings[:_SHOWN]:
        yield f"  warning: {warning}"
    if len(warnings) > _SHOWN:
        yield f"  and {len(warnings) - _SHOWN} warnings more"


def _choice_row(choice: Choice) -> tuple[str, str, str]:
    reason = f"default: {choice.reason}" if choice.default else choice.reason
    return (choice.subject, choice.value, reason)


def _steps(plan: Plan) -> Iterator[str]:
    yield "Steps"
    steps = plan.program.steps
    many = {name for name, count in Counter(s.execute for s in steps).items() if count > _SHOWN}
    shown: Counter[str] = Counter()
    left_out: list[int] = []
    for number, step in enumerate(steps, start=1):
        shown[step.execute] += 1
        if step.execute in many and shown[step.execute] > _SHOWN_OF_MANY:
            left_out.append(number)
            if number == len(steps) or steps[number].execute != step.execute:
                yield f"  {_numbers(left_out)}. {step.execute}, likewise"
                left_out.clear()
            continue
        yield f"  {number}. {step.execute}{_promise(step)}{_WHO.get(step.target, '')}"
        yield f"       does    {_operations(step) or _prepares(step)}"
        yield f"       undo    {_undo(step)}"


def _numbers(run: list[int]) -> str:
    return f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}"


def _promise(step: Step) -> str:
    words = []
    if step.ordered and len(step.covers) > 1:
        words.append("in this order")
    if step.atomic:
        words.append("all or nothing")
    return f"  ({', '.join(words)})" if words else ""


def _operations(step: Step) -> str:
    disks: dict[Kind, list[str]] = {}
    for operation in step.covers:
        disks.setdefault(operation.kind, []).append(operation.disk)
    words: dict[str, None] = {}  # in their order, each once
    for operation in step.covers:
        names = disks[operation.kind]
        if operation.kind not in _OF_MANY_DISKS:
            words[str(operation)] = None
        elif operation.disk == names[0]:
            words[f"{operation.kind.value}({_names(names)})"] = None
    return (" -> " if step.ordered else ", ").join(words)


def _prepares(step: Step) -> str:
    """What a step is for that covers no operation."""
    if step.target is Target.HOST:
        if "disks" in step.arguments:
            disks = cast("list[str]", step.arguments["disks"])
            if not disks:
                return "on the host: flushes no longer"
            return f"on the host: writes back what it holds of {_names(list(disks))}"
        return f"on the host: {step.arguments['path']}"
    if step.execute == "migrate-set-capabilities":
        changes = cast("list[Mapping[str, object]]", step.arguments["capabilities"])
        return ", ".join(f"{c['capability']} {'on' if c['state'] else 'off'}" for c in changes)
    return ", ".join(f"{name} {value}" for name, value in step.arguments.items())


_UNDO_OF_DISKS = {
    UndoKind.DELETE_PART: "delete the new snapshot of {}, by id and name",
    UndoKind.REMOVE_OVERLAY: "take the overlay off {}, merged into its base",
    UndoKind.REMOVE_NODE: "take the node {} out of QEMU",
    UndoKind.CANCEL_COPY: "cancel the copy of {}",
    UndoKind.REMOVE_TARGET: "take the node of the copy of {} out of QEMU",
    UndoKind.REMOVE_FILE: "remove the new image of {}",
}


def _undo(step: Step) -> str:
    words = [undo.kind.value for undo in step.undo if not undo.disk]
    for kind, text in _UNDO_OF_DISKS.items():
        disks = [undo.disk for undo in step.undo if undo.disk and undo.kind is kind]
        if disks:
            words.append(text.format(_names(disks)))
    if not words:
        return "nothing undoes this" if step.covers else "none needed"
    return ", ".join(words)


def _foot(plan: Plan) -> Iterator[str]:
    pause = "the guest is paused meanwhile" if plan.program.resolution.pauses else "no pause"
    freeze = plan.program.resolution.freeze
    if freeze is not None:
        pause += f"; file systems are frozen for {freeze.at_most_s} s at the most"
    yield f"Proved against every rule (snapplan help invariants); {pause}."


def _names(names: list[str]) -> str:
    if len(names) <= _SHOWN:
        return ", ".join(names) or "none"
    return f"{', '.join(names[:_SHOWN])} and {len(names) - _SHOWN} more"


def qmp_lines(plan: Plan) -> str:
    """The plan's commands as QMP: one JSON object a line, as a client would send them.

    What is done with files on the host is no QMP, and stands in the plan only.
    """
    lines = []
    for step in plan.program.steps:
        if step.target is not Target.QMP:
            continue
        command: dict[str, object] = {"execute": step.execute}
        if step.arguments:
            command["arguments"] = step.arguments
        lines.append(json.dumps(command))
    return "\n".join(lines) + "\n"
