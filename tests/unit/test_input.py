"""Files that a user names: what would be waited for is told, and what a shell has opened is read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.simulator import load_faults
from planner.errors import BadInput
from planner.host.input import read_text_file
from planner.store.store_files import read_stored

SNAPPLAN = Path(sys.executable).with_name("snapplan")
FACTS = "specs/examples/uefi-guest.facts.json"
REQUEST = "specs/examples/uefi-guest.yaml"


@pytest.fixture(params=["fifo", "device", "link"])
def waited_for(request, tmp_path):
    path = tmp_path / "odd"
    if request.param == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if request.param == "device" else "/dev/tty")
    return path


@pytest.mark.parametrize(
    ("read", "code"),
    [
        (lambda path: read_text_file(str(path)), "file-unreadable"),
        (load_faults, "file-unreadable"),
        (lambda path: read_stored(path, "group-malformed"), "store-unreadable"),
    ],
    ids=["file", "faults", "store"],
)
def test_what_would_be_waited_for_is_no_file(waited_for, read, code):
    """Neither is opened and then read for ever; a link to one is one."""
    with pytest.raises(BadInput) as error:
        read(waited_for)
    assert error.value.code == code
    assert ("FIFO" if waited_for.is_fifo() else "device") in error.value.message


def test_a_folder_is_told_as_ever(tmp_path):
    """Nothing is read of it."""
    with pytest.raises(BadInput, match="it is a folder"):
        read_text_file(str(tmp_path))


@pytest.mark.parametrize(
    "line",
    [
        '"$0" plan <(cat $1) --facts <(cat $2)',
        'cat $1 | "$0" plan /dev/stdin --facts $2',
        pytest.param('"$0" plan /dev/stdin --facts $2 <$1', marks=pytest.mark.long),
        pytest.param('cat $1 | "$0" plan - --facts $2', marks=pytest.mark.long),
    ],
)
def test_what_a_shell_has_opened_is_read(line):
    """Process substitution, and standard input by each of its names."""
    words = ["bash", "-c", f"set -o pipefail; {line}", SNAPPLAN, REQUEST, FACTS]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
