"""A failure at each step of each combination of external parts leaves the VM and the host as before."""

import pytest

from planner.run.phases import Phase
from tests.live.external import account_of, external_request, run_struck, start_mixed

pytestmark = pytest.mark.real_qemu

SINCE_10 = pytest.mark.qemu_versions(since=(10, 0))
CASES = [
    ("none", "lost"),
    ("internal", "refused"),
    ("stopped", "lost"),
    ("live", "lost"),
    *[
        pytest.param(*case, marks=pytest.mark.long)
        for case in (
            ("none", "refused"), ("internal", "lost"), ("stopped", "refused"), ("live", "refused"),
        )
    ],
    pytest.param("background", "lost", marks=SINCE_10),
    pytest.param("background", "refused", marks=[SINCE_10, pytest.mark.long]),
]  # fmt: skip


@pytest.mark.sample(1)
@pytest.mark.parametrize(("capture", "how"), CASES)
def test_a_failure_at_any_step_leaves_nothing(qemu, capture, how):
    """No new file, no new snapshot, disks on their old nodes, settings as before, guest running.

    One VM bears them all, one after the other: each ends as if it had not been.
    """
    vm = start_mixed(qemu)
    text = external_request(vm, capture)
    before = account_of(vm)
    number, count = 0, 1
    while number < count:
        number += 1
        run = run_struck(vm, text, number, how)
        count = len(run.plan.program.steps)
        where = f"step {number}, {run.plan.program.steps[number - 1].execute}"
        assert run.struck.struck, where
        assert (run.outcome.phase, run.outcome.left) == (Phase.UNDONE, ()), (where, run.outcome)
        assert account_of(vm) == before, where
    vm.wait_guest(2, since=len(vm.console()))
    assert run_struck(vm, text).outcome.phase is Phase.DONE, "and then it can be done"
