"""The simulated QEMU shows what the real one shows, command for command.

`SNAPPLAN_LOCKSTEP_SEQUENCES` (default 24) and `SNAPPLAN_LOCKSTEP_SEED` (default 0) make a campaign;
a failure names the seed of its sequence.
"""

import os

import pytest

from planner.experiment.lockstep.comparing import Asked, run_sequence
from planner.experiment.result import SequenceEnd

SEQUENCES = int(os.environ.get("SNAPPLAN_LOCKSTEP_SEQUENCES", "24"))
FIRST_SEED = int(os.environ.get("SNAPPLAN_LOCKSTEP_SEED", "0"))
LENGTH = int(os.environ.get("SNAPPLAN_LOCKSTEP_LENGTH", "25"))


@pytest.mark.real_qemu
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEQUENCES))
def test_simulated_and_real_qemu_show_the_same(seed):
    found = run_sequence(Asked(seed, LENGTH))
    assert found.differences == ()
    assert found.end is not SequenceEnd.DIFFERS
