"""Plans for VMs on which somebody left migration settings: steps around the rest, and nothing else."""

import json

import pytest
from attrs import evolve

from planner.compile.plan import compile_request
from planner.compile.plan_text import plan_to_text, read_plan
from planner.load.load_checks import LoadedPart, LoadPlan
from planner.load.load_failure import read_failure
from planner.verify.proof import violations
from tests.unit.build import facts, qcow2, whole
from tests.unit.test_schemas import PLAN

DESIGNS = ("monolithic", "transactional")
BARE = facts(qcow2("disk0"), qcow2("disk1"), version="10.0")
LEFT = evolve(
    BARE,
    capabilities={**BARE.capabilities, "events": True, "multifd": True},
    parameters={**BARE.parameters, "mode": "cpr-reboot"},
)
SETS = ("migrate-set-capabilities", "migrate-set-parameters")


def plan(vm, design):
    return compile_request(whole("disk0", "disk1"), vm, design)


@pytest.mark.parametrize("design", DESIGNS)
def test_what_is_left_on_is_off_before_anything_else_and_on_again_at_the_end(design):
    """What is harmless stays as it is; the rest of the plan is that of a VM with ordinary settings."""
    made = plan(LEFT, design)
    names = [step.execute for step in made.program.steps]
    assert tuple(names[:2]) == tuple(names[-2:]) == SETS
    assert made.program.steps[2:-2] == plan(BARE, design).program.steps
    first, last = made.program.steps[0], made.program.steps[-2]
    assert first.arguments == {"capabilities": [{"capability": "multifd", "state": False}]}
    assert last.arguments == {"capabilities": [{"capability": "multifd", "state": True}]}
    assert any("multifd is on" in warning for warning in made.program.resolution.warnings)
    text = plan_to_text(made)
    PLAN.validate(json.loads(text))
    assert read_plan(text) == made


@pytest.mark.parametrize("design", DESIGNS)
def test_with_ordinary_settings_a_plan_says_nothing_of_them(design):
    """Nor with `events`, which only has QEMU tell more."""
    vm = evolve(BARE, capabilities={**BARE.capabilities, "events": True})
    text = plan_to_text(plan(vm, design))
    assert text == plan_to_text(plan(BARE, design))
    assert "migrate-set" not in text


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize(
    ("number", "rule"),
    [
        (0, "known-settings"),
        (1, "known-settings"),
        (-1, "settings-restored"),
        (-2, "settings-restored"),
    ],
)
def test_a_program_without_one_of_these_steps_is_no_proved_one(design, number, rule):
    """A save under settings that are not known, or settings that stay changed."""
    program = plan(LEFT, design).program
    steps = list(program.steps)
    del steps[number]
    assert rule in {problem.code for problem in violations(evolve(program, steps=tuple(steps)))}


def test_a_load_that_was_refused_because_of_multifd_has_touched_nothing():
    """QEMU 11.1 looks at it first: the guest is let run again."""
    part = LoadedPart("disk0", "disk0", "1", 5, ("disk0",))
    order = LoadPlan("a", "j", "disk0", (part,), "running", "running")
    assert read_failure("Snapshots are not compatible with multifd", order).nothing
    assert not read_failure("Error -22 while loading VM state", order).nothing
