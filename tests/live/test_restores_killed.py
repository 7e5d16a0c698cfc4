"""A `load --run`, or a delete on a restored VM, that dies: what it left is known, and goes."""

import os
import stat
import subprocess

import pytest

from tests.live.gate import Gate
from tests.live.restores import Adopted, restored, store, template
from tests.live.runs import SNAPPLAN, as_json, snapplan
from tests.live.test_restores_kept import COMMIT, Kept
from tests.support.qemu import end_process, qemu_img_binary

pytestmark = pytest.mark.real_qemu

KILLING_QEMU_IMG = """#!/bin/sh
# The real qemu-img; the NUMBERth file that it is to make is never made, and snapplan dies.
case "$1" in create)
  echo >> '{count}'
  test "$(wc -l < '{count}')" -lt {number} || {{ kill -9 $PPID; exit 1; }}
esac
exec '{program}' "$@"
"""
KILLING_QEMU = """#!/bin/sh
# Snapplan dies when it starts its QEMU; {what}
kill -9 $PPID
{then}
"""


def script(path, text):
    path.write_text(text)
    path.chmod(stat.S_IRWXU)
    return path


def killed_load(kept, words, **environment):
    done = subprocess.run(
        [SNAPPLAN, "load", "a", "--run", words, "--qmp", kept.folder / "tool", *store(kept.vm)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == -9, done


def is_whole_again(kept, before):
    """Nothing of it is left, and the snapshot goes back as ever."""
    assert kept.images() == before
    assert kept.run("restore", "list")["restores"] == []
    assert kept.stray() == []
    with restored(kept.vm, kept.manifests["a"], *store(kept.vm)[:2]) as again:
        again.wait_guest(2)
        assert [each["name"] for each in kept.run("restore")["restores"]] == ["a.restored-1"]


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 2])
def test_killed_while_the_files_are_made(qemu, tmp_path, number):
    """No guest has run on them: they go without a word, also what was half made."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    before = kept.images()
    killing = KILLING_QEMU_IMG.format(
        count=tmp_path / "count", number=number, program=qemu_img_binary()
    )
    program = script(tmp_path / "qemu-img", killing)
    killed_load(kept, template(kept.vm, kept.manifests["a"]), SNAPPLAN_QEMU_IMG=str(program))
    assert len(kept.images()) == len(before) + number - 1
    (known,) = kept.run("restore", "list")["restores"]
    assert (known["state"], known["runs"]) == ("making", None)
    assert kept.run("restore", "promote", "a.restored-1", code=10) >= {
        ("restore-unfinished", "a.restored-1")
    }
    kept.run("restore", "drop", "a.restored-1")
    is_whole_again(kept, before)


@pytest.mark.long
def test_killed_when_qemu_is_started_and_qemu_with_it(qemu, tmp_path):
    """It may have run, for all that anybody knows: it goes with a person's word."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    before = kept.images()
    killing = KILLING_QEMU.format(what="and no QEMU comes up.", then="exit 1")
    words = template(kept.vm, kept.manifests["a"]).split(" ", 1)
    killed_load(kept, f"{script(tmp_path / 'qemu', killing)} {words[1]}")
    drop = ("restore", "drop", "a.restored-1")
    assert kept.run(*drop, code=2) == {("confirmation-missing", "a.restored-1")}
    kept.run(*drop, "--yes")
    is_whole_again(kept, before)


@pytest.mark.long
def test_killed_when_qemu_is_started_and_qemu_lives(qemu, tmp_path):
    """It waits for a machine state that nobody gives it: its pid is said, and its files stay."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    before = kept.images()
    program, words = template(kept.vm, kept.manifests["a"]).split(" ", 1)
    pid_file = tmp_path / "pid"
    killing = KILLING_QEMU.format(
        what="and QEMU comes up.", then=f"echo $$ > '{pid_file}'\nexec {program} \"$@\""
    )
    killed_load(kept, f"{script(tmp_path / 'qemu', killing)} {words}")
    kept.vm.wait_until(lambda: pid_file.exists() and (kept.folder / "tool").exists(), "QEMU is up")
    pid = int(pid_file.read_text())
    orphan = Adopted.of(pid)
    try:
        kept.vm.wait_until(lambda: in_use(kept, pid), "QEMU has its disks open")
    finally:
        end_process(orphan)
        os.close(orphan.handle)
    kept.run("restore", "drop", "a.restored-1", "--yes")
    is_whole_again(kept, before)


def in_use(kept, pid):
    done = snapplan("restore", "drop", "a.restored-1", "--yes", *store(kept.vm))
    problems = as_json(done)["error"]["problems"]
    assert done.returncode == 10
    return all(f"process {pid}" in each["message"] for each in problems)


@pytest.mark.parametrize(
    ("command", "both"),
    [
        ("job-complete", True),
        pytest.param("job-complete", False, marks=pytest.mark.long),
        pytest.param("block-commit", True, marks=pytest.mark.long),
        pytest.param("block-commit", False, marks=pytest.mark.long),
    ],
)
def test_killed_while_a_restore_is_merged(qemu, command, both):
    """The restore's overlay is the snapshot's by then: recovered and deleted again."""
    kept = Kept(qemu, "a")
    kept.vm.end()
    with restored(kept.vm, kept.manifests["a"], *store(kept.vm)[:2]) as again:
        again.wait_guest(3)
        for disk in kept.names:
            kept.overlay(disk, "a").unlink()
        with Gate(again, command) as gate:
            words = ["delete", "a", "--vm", gate.path, *store(kept.vm), *COMMIT]
            running = subprocess.Popen(
                [SNAPPLAN, *map(str, words)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            gate.kill(running, after=False)
        address = gate.path
        if both:
            again.process.kill()
            again.process.wait(30)
        else:
            address = again.qmp_path
        recovered = snapplan("recover", "--vm", address, *store(kept.vm))
        assert recovered.returncode in (0, 20, 21), recovered.stderr
        if not both:
            snapplan("delete", "a", "--vm", again.qmp_path, *store(kept.vm), *COMMIT)
            again.wait_guest(3, since=len(again.console()))
    if both and "a" in {p.name for p in kept.folder.iterdir()}:
        kept.run("delete", "a", "--offline", *COMMIT)
    assert kept.images() == ["disk0.qcow2"]
    assert kept.run("restore", "list")["restores"] == []
