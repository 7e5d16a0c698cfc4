"""What the model says of copies, against real QEMU, command for command; see `test_lockstep`."""

import os

import pytest

from tests.model.backup_lockstep import BackupSequence
from tests.model.lockstep import run_sequence
from tests.support.fixtures import long
from tests.support.qemu import qemu_version

SEQUENCES = int(os.environ.get("SNAPPLAN_LOCKSTEP_SEQUENCES", "24"))
FIRST_SEED = int(os.environ.get("SNAPPLAN_LOCKSTEP_SEED", "0"))
LENGTH = 40


@pytest.mark.real_qemu
@pytest.mark.parametrize(
    "seed", [FIRST_SEED, *long(*range(FIRST_SEED + 1, FIRST_SEED + SEQUENCES))]
)
def test_copies_are_shown_alike(seed):
    """Replies, errors, events, jobs and nodes."""
    differences = run_sequence(seed, LENGTH, qemu_version(), draws=BackupSequence)
    assert not differences, "\n".join(map(str, differences))
