"""A qemu-img of ours does not outlive us, and a key at the terminal does not reach it."""

import os
import select
import subprocess
import sys

import pytest

from backends.images import run_qemu_img
from planner.run.ports import NoReply

DEADLINE_S = 60
CALL = "import sys; from backends.images import run_qemu_img; run_qemu_img(sys.argv[1], 'info')"


@pytest.fixture
def program(tmp_path):
    """A qemu-img that says who it is, and then works for a very long time."""
    told = tmp_path / "pid"
    os.mkfifo(told)
    script = tmp_path / "qemu-img"
    script.write_text(f'#!/bin/sh\necho $$ >"{told}"\nexec sleep 3600\n')
    script.chmod(0o700)
    return script, told


def test_a_qemu_img_ends_with_the_snapplan_that_started_it(program):
    """Also where that is killed, and can end nothing itself."""
    script, told = program
    with subprocess.Popen([sys.executable, "-c", CALL, script]) as snapplan:
        pid = int(told.read_text())
        helper = os.pidfd_open(pid)
        try:
            assert os.getpgid(pid) == pid
            snapplan.kill()
            ended, _, _ = select.select([helper], [], [], DEADLINE_S)
            assert ended, "it works on"
        finally:
            if not select.select([helper], [], [], 0)[0]:
                os.kill(pid, 9)
            os.close(helper)


def test_a_qemu_img_that_is_not_there_is_told_in_the_systems_words(tmp_path):
    """Not in those of what starts it."""
    with pytest.raises(NoReply, match="cannot be started: No such file"):
        run_qemu_img(str(tmp_path / "nowhere"), "info")
