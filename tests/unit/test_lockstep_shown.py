"""What a lockstep compares can be told of every command that is drawn, of those that are none too."""

import pytest

from planner.experiment.lockstep.drawing import Sequence
from planner.experiment.lockstep.drawing_copies import CopySequence
from planner.experiment.lockstep.shown import without_pauses


@pytest.mark.parametrize("draws", [Sequence, CopySequence])
def test_no_drawn_command_is_too_odd_to_be_compared(draws):
    """A member missing, of a wrong type, or unknown."""
    for seed in range(200):
        sequence = draws(seed, (11, 1))
        for _ in range(25):
            command, arguments = sequence.next()
            assert without_pauses(command, arguments, []) == []
