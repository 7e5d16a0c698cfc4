"""script/demo does what it shows, with a real QEMU and without one."""

import os
import subprocess

import pytest


def run_demo(tmp_path, **environment):
    return subprocess.run(
        ["script/demo"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path), **environment},
    )


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        pytest.param({}, "A small QEMU", marks=pytest.mark.real_qemu, id="real"),
        pytest.param(
            {"SNAPPLAN_DEMO_WITHOUT_QEMU": "1"}, "No QEMU can be had here", id="simulated"
        ),
    ],
)
def test_the_demo_saves_in_both_designs_and_cleans_up(tmp_path, environment, where):
    """Two snapshots of one instant are listed at the end, and the temporary folder is gone."""
    done = run_demo(tmp_path, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert where in done.stdout
    assert "is complete (monolithic)" in done.stdout
    assert "is complete (transactional)" in done.stdout
    assert done.stdout.count("(complete, one instant, ") == 2
    assert "exit code 11" in done.stdout
    assert list(tmp_path.iterdir()) == []
