"""Whatever the VM and the request: a program that comes out does just what was asked for."""

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.compile.graph import build_graph
from planner.compile.plan import compile_request
from planner.errors import BadInput, Refused
from planner.model.request_text import request_from_plain
from planner.model.text import Document
from planner.program.resolution import operations_of
from tests.property.tiny_vm import TinyVm, complaints
from tests.property.worlds import DESIGNS, anything, possible

quick = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
designs = pytest.mark.parametrize("design", DESIGNS)


def compiled(world, design):
    """The plan, or None where the design cannot do the request and must say so."""
    if design == "monolithic" and not world.monolithic_fits:
        with pytest.raises(Refused) as refused:
            compile_request(world.request, world.facts, design)
        assert {problem.code for problem in refused.value.problems} == {"design-cannot"}
        return None
    return compile_request(world.request, world.facts, design)


def commands(plan):
    return [(step.execute, step.arguments) for step in plan.program.steps]


@designs
@quick
@given(world=possible())
def test_a_program_makes_just_the_snapshot_that_was_asked_for(design, world):
    """Played by the oracle: each part once, excluded disks never, one instant, right order."""
    plan = compiled(world, design)
    if plan is not None:
        vm = TinyVm(world.facts).run(commands(plan))
        assert complaints(vm, world) == []


@designs
@quick
@given(world=possible())
def test_the_graph_orders_what_the_program_orders(design, world):
    """Every rule's edge goes forward in the program, and write reaches snapshot reaches discard."""
    plan = compiled(world, design)
    if plan is None:
        return
    graph = build_graph(operations_of(plan.program.resolution))
    flat = [operation for step in plan.program.steps for operation in step.covers]
    place = {operation: number for number, operation in enumerate(flat)}
    assert len(place) == len(flat) == len(graph)
    step_of = {op: n for n, step in enumerate(plan.program.steps) for op in step.covers}
    for before, after in graph.edges():
        assert place[before] < place[after]
        if step_of[before] == step_of[after]:
            assert plan.program.steps[step_of[before]].execute == "snapshot-save"


@quick
@given(world=possible())
def test_auto_takes_monolithic_wherever_it_can_and_says_why_where_not(world):
    """`auto` is the first design that can, with the reasons against those before it."""
    program = compile_request(world.request, world.facts).program
    assert program.design == ("monolithic" if world.monolithic_fits else "transactional")
    assert bool(program.not_chosen) is not world.monolithic_fits


def plan_or_error(read, facts, design="auto"):
    try:
        return compile_request(read, facts, design), None
    except (BadInput, Refused) as error:
        return None, error


@settings(quick, max_examples=120)
@given(case=anything(), design=st.sampled_from(DESIGNS))
def test_a_request_is_done_right_or_refused_with_reasons(case, design):
    """Whatever is asked for: a program that the oracle finds right, or an error with problems."""
    facts, plain = case
    read = request_from_plain(Document(plain))
    plan, error = plan_or_error(read, facts, design)
    if error is not None:
        assert error.problems
        assert all(problem.code and problem.message for problem in error.problems)
        assert isinstance(error, BadInput) == bool(read.problems)
        assert len(set(error.problems)) == len(error.problems)
        return
    assert not read.problems
    resolution = plan.program.resolution
    vm = TinyVm(facts).run(commands(plan))
    wanted = {part.disk for part in resolution.internal}
    assert {disk for disk in vm.images if vm.new(disk)} == wanted
    assert vm.faults == []
    assert len({part.instant for part in vm.parts}) == 1


@settings(quick, max_examples=100)
@given(case=anything())
def test_a_refusal_does_not_depend_on_the_order_of_the_disks(case):
    """The same problems, in the same order, whatever the order of the VM's disks."""
    facts, plain = case
    read = request_from_plain(Document(plain))

    backwards = evolve(facts, disks=tuple(reversed(facts.disks)))
    (one, refused), (_, again) = (plan_or_error(read, some) for some in (facts, backwards))
    assert (one is None) == (refused is not None)
    assert getattr(refused, "problems", ()) == getattr(again, "problems", ())
