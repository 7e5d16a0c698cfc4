"""Copies, and what makes and resizes images: the model against real QEMU; see `test_lockstep`."""

import os

import pytest

from planner.experiment.lockstep.comparing import Asked, run_sequence
from tests.support.fixtures import long

SEQUENCES = int(os.environ.get("SNAPPLAN_LOCKSTEP_SEQUENCES", "24"))
FIRST_SEED = int(os.environ.get("SNAPPLAN_LOCKSTEP_SEED", "0"))
LENGTHS = {"copies": 40, "images": 25}


@pytest.mark.real_qemu
@pytest.mark.parametrize("commands", LENGTHS)
@pytest.mark.parametrize(
    "seed", [FIRST_SEED, *long(*range(FIRST_SEED + 1, FIRST_SEED + SEQUENCES))]
)
def test_what_is_drawn_is_shown_alike(commands, seed):
    """Replies, errors, events, jobs, nodes and sizes."""
    assert run_sequence(Asked(seed, LENGTHS[commands], commands)).differences == ()
