"""The simulated QEMU shows what the real one shows, command for command.

`SNAPPLAN_LOCKSTEP_SEQUENCES` (default 24) and `SNAPPLAN_LOCKSTEP_SEED` (default 0) make a campaign;
a failure names the seed of its sequence.
"""

import os

import pytest

from tests.model.lockstep import run_sequence
from tests.support.qemu import qemu_version

SEQUENCES = int(os.environ.get("SNAPPLAN_LOCKSTEP_SEQUENCES", "24"))
FIRST_SEED = int(os.environ.get("SNAPPLAN_LOCKSTEP_SEED", "0"))
LENGTH = int(os.environ.get("SNAPPLAN_LOCKSTEP_LENGTH", "25"))


@pytest.mark.real_qemu
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEQUENCES))
def test_simulated_and_real_qemu_show_the_same(seed):
    differences = run_sequence(seed, LENGTH, qemu_version())
    assert not differences, "\n".join(map(str, differences))
