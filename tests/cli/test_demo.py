"""script/demo runs the demo that a word names, and does what it shows, with a real QEMU and without."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

DEMOS = Path("script/demos")
WORDS = sorted(path.name for path in DEMOS.iterdir())


def demo(*words):
    return subprocess.run(["script/demo", *words], capture_output=True, text=True, check=False)


def test_help_tells_every_demo_in_its_own_words():
    """A line for each file in script/demos, which is what can be run."""
    done = demo("--help")
    assert done.returncode == 0
    told = done.stdout.splitlines()[1:]
    assert [line.partition(":")[0] for line in told] == [f"  script/demo {word}" for word in WORDS]
    assert all(os.access(DEMOS / word, os.X_OK) for word in WORDS)


@pytest.mark.parametrize("words", [("nosuch",), ("../demo",), ("",), ("designs", "twice")])
def test_a_word_that_is_no_demo_is_refused(words):
    """Nothing is run, and the demos that there are are told."""
    done = demo(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "there is no demo" in done.stderr
    assert "script/demo designs: " in done.stderr


def run_demo(tmp_path, *words, **environment):
    return subprocess.run(
        ["script/demo", *words],
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
            {"SNAPPLAN_DEMO_WITHOUT_QEMU": "1"},
            "No QEMU can be had here",
            marks=pytest.mark.long,
            id="simulated",
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


@pytest.mark.long
@pytest.mark.real_qemu
def test_the_demo_of_libvirt_goes_back_and_cleans_up():
    """libvirt refuses the mixture, takes the snapshot back, and its view is right; nothing is left."""
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:  # where the user nobody may go
        Path(folder).chmod(0o755)
        done = run_demo(folder, "libvirt")
        assert done.returncode == 0, done.stdout + done.stderr
        assert list(Path(folder).iterdir()) == []
    assert "must use snapshot mode 'internal'" in done.stdout
    assert "memory and disks agree" in done.stdout
    assert "running (restored)" in done.stdout
    assert done.stdout.count(" vdb   vdb.before.restored-1.qcow2") == 1


@pytest.mark.real_qemu
@pytest.mark.long
def test_the_demo_of_a_daemon_takes_the_guest_back(tmp_path):
    """Refused alone, saved as a group, and back: the guest finds all of one instant; nothing is left."""
    done = run_demo(tmp_path, "daemon")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vud0 is served by qemu-storage-daemon" in done.stdout
    assert "[storage-outside] vud0" in done.stdout
    assert "Group 'before-upgrade' is complete." in done.stdout
    assert "finds memory and both disks of one instant" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real_qemu
@pytest.mark.long
def test_the_group_demo_tears_and_does_not_tear_and_ends_all(tmp_path):
    """Guests one after the other are torn, as a group they are not; no process and no file is left."""
    done = run_demo(tmp_path, "group")
    assert done.returncode == 0, done.stdout + done.stderr
    alone, together = done.stdout.split("== The same two")
    assert "NEVER SENT" in alone
    assert "NEVER SENT" not in together
    assert together.count("were under way") == 2
    assert done.stdout.endswith("Both talk again.\n")
    assert list(tmp_path.iterdir()) == []
    running = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False)
    assert running.stdout == b""


@pytest.mark.parametrize("word", WORDS)
def test_a_demo_can_be_read_by_a_shell(word):
    """No demo has a mistake that its shell would find only when it comes there, or lacks a file."""
    named = re.findall(
        r"\$PWD/((?:backends|docs|planner|script|specs|tests)/\S+?)[\"\s]",
        (DEMOS / word).read_text(),
    )
    assert [file for file in named if not Path(file).exists()] == []
    read = subprocess.run(["bash", "-n", DEMOS / word], capture_output=True, check=False)
    assert (read.returncode, read.stderr) == (0, b"")
