"""`snapplan experiment` on a real QEMU: figures, and nothing left, however it ends."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.live.scratch import none_left, qemus
from tests.support.forked import SNAPPLAN, run_snapplan
from tests.support.qemu import qemu_binary, qemu_version

pytestmark = pytest.mark.real_qemu


def written(tmp_path, *, repeat=1, **vary):
    """An experiment file over this QEMU; `_` in a key is `-`."""
    axes = {"qemu": {"here": qemu_binary()}, "design": ["transactional"]}
    axes |= {key.replace("_", "-"): value for key, value in vary.items()}
    file = tmp_path / "file.yaml"
    plain = {"experiment": "live", "kind": "measure", "repeat": repeat, "vary": axes}
    file.write_text(json.dumps(plain))
    return file


def cases(tmp_path):
    return [json.loads(path.read_text()) for path in sorted((tmp_path / "out/cases").iterdir())]


def test_a_snapshot_is_measured_in_a_vm_of_its_own(tmp_path, scratch):
    """One disk and an idle guest: figures, a version, and no file or process is left."""
    file = written(tmp_path, disks=[1])
    done = run_snapplan("experiment", "run", file, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    (case,) = json.loads(done.stdout)["cases"]
    measured = case["measured"]
    assert measured["qemu-version"].startswith("{}.{}.".format(*qemu_version()))
    assert 0 < measured["pause-us"] <= measured["total-us"]
    assert int(measured["vm-state-bytes"]) > 64 * 2**20  # what the guest has filled
    assert case["ran"]["cpus"] == os.cpu_count()
    assert list(scratch.iterdir()) == []
    assert qemus(scratch) == []


@pytest.mark.long
def test_designs_over_disks_and_dirty_rates_are_compared(tmp_path, scratch):
    """A disk on virtio-blk, more on virtio-scsi; each design as often as it was asked for."""
    designs = ["monolithic", "transactional", "external", "live"]
    file = written(tmp_path, repeat=5, disks=[9], dirty_mib_per_s=[20], design=designs)
    done = run_snapplan("experiment", "run", file, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    (group,) = json.loads(done.stdout)["compared"]
    assert {each["design"]: each["runs"] for each in group["designs"]} == dict.fromkeys(designs, 5)
    assert {each["likeness"] for each in group["contrasts"]} <= {"differ", "no-difference-seen"}
    assert list(scratch.iterdir()) == []


@pytest.mark.long
def test_250_disks_are_as_many_as_there_may_be(tmp_path, scratch):
    """All hang on one controller, and all are in the snapshot."""
    file = written(tmp_path, disks=[250])
    done = run_snapplan("experiment", "run", file, "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert list(scratch.iterdir()) == []


@pytest.mark.long
def test_a_qemu_that_is_killed_in_the_middle_is_tried_again(tmp_path, scratch):
    """Its case has failed, and says so; the next run of the same command measures it."""
    file = written(tmp_path, disks=[60], memory_mib=[512])
    words = [SNAPPLAN, "experiment", "run", file, "-o", tmp_path / "out"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        for process in in_its_snapshot(scratch):
            os.kill(process, signal.SIGKILL)
        _, said = run.communicate(timeout=120)
    assert run.returncode == 20, said
    (case,) = cases(tmp_path)
    assert case["state"] == "failed"
    assert case["problems"]
    assert list(scratch.iterdir()) == []
    again = run_snapplan(*map(str, words[1:]))
    assert again.returncode == 0, again.stderr
    assert [each["state"] for each in cases(tmp_path)] == ["done"]


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_stops_it_no_qemu_is_left(tmp_path, scratch, number):
    """In the middle of a snapshot; of a kill -9 only files are left, in a folder for such."""
    file = written(tmp_path, disks=[60], memory_mib=[512])
    words = [SNAPPLAN, "experiment", "run", file, "-o", tmp_path / "out"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        in_its_snapshot(scratch)
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
    assert none_left(scratch)
    assert cases(tmp_path) == []
    if number != signal.SIGKILL:
        assert run.returncode == 130, said
        assert "results so far are kept" in said
        assert list(scratch.iterdir()) == []


def in_its_snapshot(scratch):
    """Wait until a QEMU writes a snapshot; the processes."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        images = list(scratch.glob("sp-*/disk0.qcow2"))
        if images and images[0].stat().st_size > 8 * 2**20:
            return qemus(scratch)
        time.sleep(0.005)
    raise AssertionError("no snapshot was begun")
