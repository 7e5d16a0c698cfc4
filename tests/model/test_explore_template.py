"""A template and its clones in every order, with a fault: right, or the way to what is wrong."""

import pytest

from planner.explore.template import SOURCE, TEMPLATE_PROPERTIES, TemplateSetting, explore_template
from planner.semantics.memory_files import RamFile
from planner.verify import template as rules
from planner.verify.template import clone_problems, making_problems
from tests.model.template_worlds import CLONE, MAKING, TEMPLATE, WRONG_CLONES, WRONG_MAKINGS

NOW = (11, 1)
OTHER = {"/t/other": RamFile((7, 7), lasts=True)}
WRONG = {
    **{name: ("making", *rest) for name, rest in WRONG_MAKINGS.items()},
    **{name: ("clone", *rest) for name, rest in WRONG_CLONES.items()},
}


def verdict(making=MAKING, clone=CLONE, **more):
    return explore_template(TemplateSetting(making, clone, TEMPLATE, found=OTHER, **more))


def problems(side, acts):
    return (making_problems if side == "making" else clone_problems)(acts, TEMPLATE, NOW)


def test_done_right_nothing_goes_wrong_in_any_order():
    assert SOURCE == "source"
    assert making_problems(MAKING, TEMPLATE, NOW) == []
    assert clone_problems(CLONE, TEMPLATE, NOW) == []
    found = verdict()
    assert found.broken == ""
    assert found.states > 500


@pytest.mark.parametrize("name", WRONG)
def test_what_a_rule_forbids_is_refused_by_that_rule_alone_and_goes_wrong(name):
    """So each rule is needed: without it nothing would refuse what has a counterexample."""
    side, rule, acts = WRONG[name]
    assert {problem.code for problem in problems(side, acts)} == {rule}
    found = verdict(**{side: acts})
    assert found.broken in TEMPLATE_PROPERTIES, found
    assert found.trace
    assert found.why


def test_every_rule_has_a_way_to_break_it():
    broken = {(side, rule) for side, rule, _ in WRONG.values()}
    stated = {("making", rule.id) for rule in rules.MAKING_RULES}
    stated |= {("clone", rule.id) for rule in rules.CLONE_RULES}
    assert broken == stated
