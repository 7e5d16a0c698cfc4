"""The exploration of a group for a person and for programs."""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.group import PROPERTIES, GroupExploration, GroupReport
from planner.group.planning import GroupPlan
from planner.present.outputs import output
from planner.present.tables import table
from planner.present.visible import as_lines

__all__ = ["exploration_text", "exploration_to_plain"]


def exploration_text(plan: GroupPlan, setting: GroupExploration, report: GroupReport) -> str:
    """Verdicts, and a shortest run for each property that is violated."""
    lines = [f"Group {plan.name!r}: every run, with every order, every message, fault and death"]
    members = [f"{each.name} ({each.plan.program.design})" for each in plan.members]
    lines += [f"  members   {len(members)}: {', '.join(members)}"]
    lines += [f"  messages  {setting.messages}, faults {setting.faults}"]
    verdicts = [(each, _words(each, report), means) for each, means in PROPERTIES.items()]
    ends = ", ".join(f"{count} {kind}" for kind, count in sorted(report.ends.items())) or "none"
    stopped = "" if report.finished else "; stopped"
    effort = f"{report.states} states, {report.transitions} transitions{stopped}; ends: {ends}"
    lines += ["", table(verdicts, "  "), "", effort]
    for broken, story in report.violations.items():
        lines += ["", f"A shortest run that violates {broken}:", *_told(story)]
    return as_lines(lines)


def _words(name: str, report: GroupReport) -> str:
    return {"violated": "VIOLATED", "holds": "holds"}.get(
        _verdict(name, report), "not violated yet"
    )


def _verdict(name: str, report: GroupReport) -> str:
    if name in report.violations:
        return "violated"
    return "holds" if report.finished else "not-violated-yet"


def _told(story: tuple[str, ...]) -> Iterator[str]:
    yield from (f"  {number}. {words}" for number, words in enumerate(story, start=1))


def exploration_to_plain(
    plan: GroupPlan, setting: GroupExploration, report: GroupReport
) -> dict[str, object]:
    """What `exploration_text` says, as plain values."""
    body = {
        "group": plan.name,
        "members": [
            {"member": each.name, "design": each.plan.program.design} for each in plan.members
        ],
        "messages": setting.messages,
        "faults": setting.faults,
        "states": report.states,
        "transitions": report.transitions,
        "finished": report.finished,
        "ends": dict(sorted(report.ends.items())),
        "properties": [
            {
                "id": each,
                "means": means,
                "verdict": _verdict(each, report),
                "story": list(report.violations.get(each, ())),
            }
            for each, means in PROPERTIES.items()
        ],
    }
    return output("group", {"explored": body})
