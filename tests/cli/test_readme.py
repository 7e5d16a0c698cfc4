"""What the README shows is what really happens."""

from pathlib import Path

import pytest

from tests.support.transcripts import commands_of, printed

README = Path("README.md").read_text()
COMMANDS = commands_of(README)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.line.split()[1])
def test_the_transcript_is_true(command, tmp_path):
    """Each command of the README's transcript prints just what stands below it."""
    assert printed(command, Path.cwd(), store=tmp_path) == command.expected


def test_there_is_a_transcript():
    """The README has a transcript, so the test above tests something."""
    assert len(COMMANDS) >= 2
