"""The steps of a group's members in one order: each names its member, and stands where it may happen."""

import pytest

from planner.group.order import GroupStep, GroupWait, in_one_order
from planner.group.planning import plan_group
from planner.model.operations import CAPTURES, Kind
from planner.present.group_view import group_plan_text, group_plan_to_plain
from planner.program.gates import Gate
from tests.unit.test_group import CAPTURES as TEXTS
from tests.unit.test_group import member


def planned(*designs):
    return plan_group(
        "g",
        [
            member(f"m{n}", TEXTS[design].replace("/vm/state", f"/vm/state{n}"), design)
            for n, design in enumerate(designs)
        ],
        500,
    )


@pytest.mark.parametrize(
    "designs",
    [
        ("transactional", "transactional"),
        ("transactional", "live", "background"),
        ("external",) * 2,
    ],
    ids="-".join,
)
def test_every_step_stands_once_where_its_member_may_do_it(designs):
    """Each member's in its own order, all that is stopped before anything is let go."""
    plan = planned(*designs)
    order = list(in_one_order(plan))
    for each in plan.members:
        mine = [step for step in order if isinstance(step, GroupStep) and step.member == each.name]
        assert [step.number for step in mine] == list(range(1, len(each.plan.program.steps) + 1))
        assert [step.step for step in mine] == list(each.plan.program.steps)
    at = {
        kind: [
            place
            for place, step in enumerate(order)
            if isinstance(step, GroupStep) and kind in {each.kind for each in step.step.covers}
        ]
        for kind in Kind
    }
    resume = order.index(next(w for w in order if getattr(w, "gate", "") is Gate.RESUME))
    for kind in (Kind.PAUSE_GUEST, *CAPTURES):
        assert all(place < resume for place in at[kind])
    assert all(place > resume for place in at[Kind.RESUME_GUEST])
    assert order[-1] == GroupWait(Gate.COMMIT, tuple(each.name for each in plan.members))


def test_a_person_and_a_program_are_told_the_same_order():
    """A line for each step and each wait; a member's name before each step."""
    plan = planned("transactional", "transactional")
    said = group_plan_to_plain(plan)["plan"]["order"]
    text = group_plan_text(plan)
    lines = text.split("side by side:\n")[1].split("\n\n")[0].splitlines()
    assert len(lines) == len(said)
    for line, each in zip(lines, said, strict=True):
        words = line.split()
        if "step" in each:
            assert words[:3] == [
                each["member"],
                f"{each['step']['number']}.",
                each["step"]["execute"],
            ]
        else:
            assert words[:2] == ["all", "wait"]
            assert each["members"] == ["m0", "m1"]
    assert "for 500 ms at the most" in text
