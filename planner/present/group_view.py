"""Groups for a person and for programs: planned, saved, listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.errors import Problem
from planner.group.planning import GroupPlan, MemberPlan
from planner.group.record import KnownGroup
from planner.group.saved import GroupSaved
from planner.present.dates import date_text
from planner.present.outcome_view import start_text
from planner.present.outputs import decimal, output
from planner.present.visible import as_lines
from planner.present.words import problem_to_plain, table
from planner.program.gates import Gate, gates_of

__all__ = [
    "group_plan_text",
    "group_plan_to_plain",
    "group_saved_text",
    "group_saved_to_plain",
    "groups_text",
    "groups_to_plain",
]

_WAITS = {
    Gate.PAUSE: "waits until every member is ready to stop",
    Gate.RESUME: "waits until every member has captured everything",
}


def group_plan_text(plan: GroupPlan) -> str:
    """Explain the plan of a group: what each member does, and where it waits."""
    budget = plan.pause_budget_ms
    stands = f"; they stand for {budget:g} ms at the most" if budget is not None else ""
    lines = [f"Group {plan.name!r}: {len(plan.members)} VMs at one instant, all or none"]
    for member in plan.members:
        lines += ["", *_member_lines(member)]
    lines += [
        "",
        "In the end all wait once more: every VM must have shown every part before one is recorded.",
        f"Proved: every guest stands before any goes on{stands}.",
    ]
    return as_lines(lines)


def _member_lines(member: MemberPlan) -> Iterator[str]:
    program = member.plan.program
    yield f"{member.name}: {member.address}"
    yield f"  snapshot {program.resolution.tag!r}, design {program.design}"
    gates = gates_of(program)
    for number, step in enumerate(program.steps, start=1):
        yield from (f"     {_WAITS[gate]}" for gate in gates.get(number, ()) if gate in _WAITS)
        what = ", ".join(str(operation) for operation in step.covers)
        yield f"  {number}. {step.execute}{f'  {what}' if what else ''}"
    end = gates.get(len(program.steps) + 1, ())
    yield from (f"     {_WAITS[gate]}" for gate in end if gate in _WAITS)
    yield from (f"  warning: {warning}" for warning in program.resolution.warnings)


def group_plan_to_plain(plan: GroupPlan) -> dict[str, object]:
    """What `group_plan_text` says, as plain values."""
    return output(
        "group",
        {
            "plan": {
                "group": plan.name,
                "pause-budget-ms": plan.pause_budget_ms,
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
                        "warnings": list(each.plan.program.resolution.warnings),
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
    starts = [start_text(saved.outcomes[member.name]) for member in saved.plan.members]
    head = f"Group {saved.plan.name!r} is complete{apart}."
    return as_lines([head, table(rows, "  "), *filter(None, starts)])


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
