"""What a load does about a guest that has ended or sleeps (fact 77)."""

import pytest
from attrs import evolve

from planner.errors import Refused
from planner.load.load_checks import plan_load
from planner.model.request import RunStateAfter
from tests.unit.snapshots import images, manifest, vm


def order_of(run_state, version="10.0", after=RunStateAfter.AS_BEFORE):
    before = vm(version=version)
    return plan_load(manifest(before), evolve(before, run_state=run_state), images(before), after)


@pytest.mark.parametrize(
    ("run_state", "before", "after"),
    [
        ("running", "running", "running"),
        ("paused", "paused", "paused"),
        ("prelaunch", "paused", "paused"),
        ("restore-vm", "paused", "paused"),
        ("shutdown", "shutdown", "running"),
        ("guest-panicked", "paused", "running"),
        ("suspended", "suspended", "running"),
    ],
)
def test_as_before_is_running_where_nobody_had_stopped_the_guest(run_state, before, after):
    """A guest that ended by itself is to go on; one that somebody stopped stands."""
    order = order_of(run_state)
    assert (order.run_state_before, order.run_state_after) == (before, after)


@pytest.mark.parametrize(
    ("run_state", "version", "way_out"),
    [
        ("suspended", "7.2", "system_wakeup"),
        ("internal-error", "10.0", "system_reset"),
        ("io-error", "10.0", "cont"),
    ],
)
def test_what_cannot_be_loaded_names_the_way_out(run_state, version, way_out):
    """The remedy is a command that QEMU takes there."""
    with pytest.raises(Refused) as refused:
        order_of(run_state, version)
    (problem,) = refused.value.problems
    assert problem.code == "run-state-unsupported"
    assert way_out in problem.remedy


def test_a_crash_cannot_be_left_paused():
    """QEMU would go on to call it one."""
    with pytest.raises(Refused) as refused:
        order_of("guest-panicked", after=RunStateAfter.PAUSED)
    assert [problem.code for problem in refused.value.problems] == ["run-state-stays"]
