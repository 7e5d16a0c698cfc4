"""Groups for a person and for programs: planned, saved, listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from planner.errors import Problem
from planner.group.order import GroupStep, in_one_order
from planner.group.planning import GroupPlan
from planner.group.record import KnownGroup
from planner.group.saved import GroupLoaded, GroupSaved
from planner.present.dates import date_text
from planner.present.outcome_view import start_text
from planner.present.outputs import decimal, output
from planner.present.tables import table
from planner.present.verdict_view import Verdict, verdict_text, verdict_to_plain
from planner.present.visible import as_lines
from planner.present.words import problem_to_plain
from planner.program.gates import Gate, gates_of

__all__ = [
    "GroupVerdict",
    "group_deleted_to_plain",
    "group_loaded_text",
    "group_loaded_to_plain",
    "group_plan_text",
    "group_plan_to_plain",
    "group_saved_text",
    "group_saved_to_plain",
    "group_verdict_text",
    "group_verdict_to_plain",
    "groups_text",
    "groups_to_plain",
]

_WAITS = {
    Gate.FREEZE: "until every member is ready",
    Gate.PAUSE: "until every member may stop",
    Gate.STANDING: "until every guest that is stopped stands",
    Gate.RESUME: "until every member has captured everything",
    Gate.COMMIT: "until every VM has shown every part: then all are recorded, or none",
}


@frozen
class GroupVerdict:
    """What came of a verification of a group.

    Attributes:
        known: The group.
        verdicts: Of each member whose snapshot is recorded, by its name.
    """

    known: KnownGroup
    verdicts: Mapping[str, Verdict]

    @property
    def whole(self) -> bool:
        """Whether every member's snapshot is recorded and whole."""
        found = any(each.findings for each in self.verdicts.values())
        return self.known.standing == "whole" and not found


def group_plan_text(plan: GroupPlan) -> str:
    """Explain the plan of a group: the steps of all members in one order, and where they wait."""
    budget = plan.pause_budget_ms
    stands = f"; they stand for {budget:g} ms at the most" if budget is not None else ""
    rows = [("MEMBER", "TAG", "DESIGN", "WHERE")]
    rows += [
        (each.name, each.plan.request.tag, each.plan.program.design, each.address or "-")
        for each in plan.members
    ]
    lines = [f"Group {plan.name!r}: {len(plan.members)} VMs at one instant, all or none"]
    lines += ["", table(rows, "  ")]
    lines += ["", "In this order; between two waits, members go on side by side:"]
    lines += [table(list(_order_rows(plan)), "  ")]
    lines += [
        f"warning: {each.name}: {warning}"
        for each in plan.members
        for warning in each.plan.program.resolution.warnings
    ]
    lines += ["", f"Proved: every guest stands before any goes on{stands}."]
    return as_lines(lines)


def _order_rows(plan: GroupPlan) -> Iterator[tuple[str, str, str]]:
    for each in in_one_order(plan):
        if isinstance(each, GroupStep):
            covers = ", ".join(str(operation) for operation in each.step.covers)
            yield each.member, f"{each.number}. {each.step.execute}", covers
        else:
            everyone = len(each.members) == len(plan.members)
            yield "all" if everyone else ", ".join(each.members), "wait", _WAITS[each.gate]


def _order_to_plain(plan: GroupPlan) -> Iterator[dict[str, object]]:
    for each in in_one_order(plan):
        if isinstance(each, GroupStep):
            covers = [str(operation) for operation in each.step.covers]
            step = {"number": each.number, "execute": each.step.execute, "covers": covers}
            yield {"member": each.member, "step": step}
        else:
            yield {"gate": each.gate.value, "members": list(each.members)}


def group_plan_to_plain(plan: GroupPlan) -> dict[str, object]:
    """What `group_plan_text` says, as plain values."""
    return output(
        "group",
        {
            "plan": {
                "group": plan.name,
                "pause-budget-ms": plan.pause_budget_ms,
                "order": list(_order_to_plain(plan)),
                "members": [
                    {
                        "member": each.name,
                        "address": each.address,
                        "tag": each.plan.program.resolution.tag,
                        "design": each.plan.program.design,
                        "steps": [step.execute for step in each.plan.program.steps],
                        "gates": [
                            {"gate": gate.value, "before-step": number}
                            for number, gates in sorted(gates_of(each.plan.program).items())
                            for gate in gates
                        ],
                        "warnings": list(each.warnings),
                    }
                    for each in plan.members
                ],
            }
        },
    )


def group_saved_text(saved: GroupSaved) -> str:
    """What a finished group made."""
    spread = saved.spread_us
    apart = "" if spread is None else f"; the guests stopped within {spread / 1000:.1f} ms"
    rows = [("MEMBER", "TAG", "THE VM IS", "PAUSE", "MANIFEST")]
    for member in saved.plan.members:
        outcome = saved.outcomes[member.name]
        pause = outcome.pause_us
        rows.append(
            (
                member.name,
                member.plan.request.tag,
                outcome.run_state,
                "-" if pause is None else f"{pause / 1000:.1f} ms",
                str(saved.manifests.get(member.name, "-")),
            )
        )
    head = f"Group {saved.plan.name!r} is complete{apart}."
    return as_lines([head, table(rows, "  "), *_starts(saved)])


def _starts(saved: GroupSaved) -> Iterator[str]:
    """How QEMU is to be started from now on, by member."""
    for member in saved.plan.members:
        for line in start_text(saved.outcomes[member.name]).splitlines():
            yield f"{member.name}: {line}"


def group_saved_to_plain(saved: GroupSaved) -> dict[str, object]:
    """What `group_saved_text` says, as plain values."""
    return output(
        "group",
        {
            "saved": {
                "group": saved.plan.name,
                "run": saved.run,
                "spread-us": saved.spread_us,
                "members": [
                    {
                        "member": each.name,
                        "tag": each.plan.request.tag,
                        "run-state": saved.outcomes[each.name].run_state,
                        "pause-us": saved.outcomes[each.name].pause_us,
                        "manifest": str(saved.manifests[each.name]),
                    }
                    for each in saved.plan.members
                ],
            }
        },
    )


def groups_text(known: Sequence[KnownGroup], problems: Sequence[Problem] = ()) -> str:
    """Every group, and how it stands."""
    rows = [("GROUP", "STANDING", "MADE", "MEMBERS")]
    for each in known:
        names = ", ".join(f"{m.name} ({m.tag})" for m in each.record.members)
        rows.append((each.record.name, _standing(each), date_text(each.record.started_ns), names))
    lines = [table(rows)] if known else ["no group is recorded"]
    return as_lines([*lines, *(f"warning: {problem}" for problem in problems)])


def _standing(known: KnownGroup) -> str:
    if known.standing == "pending":
        return "pending (run `group recover`)"
    if known.missing:
        return f"incomplete (without {', '.join(known.missing)})"
    return known.standing


def groups_to_plain(
    known: Sequence[KnownGroup], problems: Sequence[Problem] = ()
) -> dict[str, object]:
    """What `groups_text` says, as plain values."""
    return output(
        "group",
        {
            "groups": [
                {
                    "group": each.record.name,
                    "run": each.record.run,
                    "standing": each.standing,
                    "started-ns": decimal(each.record.started_ns),
                    "pending": list(each.pending),
                    "missing": list(each.missing),
                    "members": [
                        {"member": m.name, "tag": m.tag, "vm": m.vm, "address": m.address}
                        for m in each.record.members
                    ],
                }
                for each in known
            ],
            "problems": [problem_to_plain(problem) for problem in problems],
        },
    )


def group_loaded_text(loaded: GroupLoaded) -> str:
    """What was loaded, and how the VMs are now."""
    members = loaded.record.members
    rows = [(each.name, each.tag, loaded.outcomes[each.name].run_state) for each in members]
    head = f"Group {loaded.record.name!r} is loaded, on all its members."
    back = [f"The way back: `snapplan group load {loaded.kept}`"] if loaded.kept else []
    return as_lines([head, table([("MEMBER", "TAG", "THE VM IS"), *rows], "  "), *back])


def group_loaded_to_plain(loaded: GroupLoaded) -> dict[str, object]:
    """What `group_loaded_text` says, as plain values."""
    members = [
        {"member": m.name, "tag": m.tag, "run-state": loaded.outcomes[m.name].run_state}
        for m in loaded.record.members
    ]
    body = {"group": loaded.record.name, "kept": loaded.kept or None, "members": members}
    return output("group", {"loaded": body})


def group_verdict_text(verdict: GroupVerdict) -> str:
    """The verdict on each member."""
    name = verdict.known.record.name
    lines = [f"Group {name!r} is {'whole' if verdict.whole else 'not whole'}."]
    lines += [f"  {each}: its snapshot is not recorded" for each in verdict.known.missing]
    for member, found in verdict.verdicts.items():
        lines += [f"  {member}: {line}" for line in verdict_text(found).splitlines()]
    return as_lines(lines)


def group_verdict_to_plain(verdict: GroupVerdict) -> dict[str, object]:
    """What `group_verdict_text` says, as plain values."""
    members = []
    for name, found in verdict.verdicts.items():
        said = {
            key: each for key, each in verdict_to_plain(found).items() if key != "format-version"
        }
        members.append({"member": name, **said})
    body = {
        "group": verdict.known.record.name,
        "whole": verdict.whole,
        "missing": list(verdict.known.missing),
        "members": members,
    }
    return output("group", {"verified": body})


def group_deleted_to_plain(known: KnownGroup) -> dict[str, object]:
    """A group that is deleted, as plain values."""
    members = [
        {"member": each.name, "tag": each.tag}
        for each in known.record.members
        if each.name not in known.missing
    ]
    return output("group", {"deleted": {"group": known.record.name, "members": members}})
