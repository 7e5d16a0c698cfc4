"""The transcript in the README is what really happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path("README.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(block):
    """(command, expected output) pairs of a transcript."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize(("line", "expected"), [pair for b in BLOCKS for pair in commands(b)])
def test_the_transcript_is_true(line, expected):
    """Each command of the README's transcript prints just what stands below it."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": path},
    )
    assert done.stdout == expected


def test_there_is_a_transcript():
    """The README has a transcript, so the test above tests something."""
    assert len([pair for block in BLOCKS for pair in commands(block)]) >= 2
