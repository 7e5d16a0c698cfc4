"""One QEMU behind several sockets: one lock, one record of a run, and gone only when it has ended."""

import os
import subprocess

import pytest

from tests.live.external import DISKS, FIRMWARE, account_of, external_request
from tests.live.faults import assert_guest_unharmed, request, start
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json, request_text, snapplan
from tests.support.qemu import end_process, qemu_binary, qemu_img_binary
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

OTHER = ("-qmp", "unix:other,server=on,wait=off")


def start_with_two_sockets(qemu):
    """A VM without a name and without a UUID: nothing but its process says that it is one VM."""
    disks = (*map(DiskSpec, DISKS), DiskSpec(FIRMWARE, DiskKind.RAW))
    return start(qemu, Topology(disks, guest=True, extra_args=OTHER))


def begin(gate, folder, text, design="auto"):
    (folder / "request.yaml").write_text(text)
    where = ("--vm", gate.path, "--store", folder / "store", "--design", design)
    return subprocess.Popen(
        [SNAPPLAN, "apply", folder / "request.yaml", *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def killed(vm, folder, text, command, *, after, design="auto"):
    """`snapplan apply`, killed at a command; then its socket is gone, and QEMU is not."""
    with Gate(vm, command) as gate:
        gate.kill(begin(gate, folder, text, design), after=after)
    return gate.path


def recover(address, folder):
    return snapplan("recover", "--vm", address, "--store", folder / "store", "--json")


def code_of(done):
    return as_json(done)["error"]["code"]


def test_two_sockets_are_one_lock(qemu, tmp_path):
    """Through another socket, with another store: whoever changes this QEMU waits for the other."""
    vm = start_with_two_sockets(qemu)
    file, elsewhere = tmp_path / "request.yaml", ("--store", tmp_path / "elsewhere")
    with Gate(vm, "transaction") as gate:
        running = begin(gate, tmp_path, request_text("a", DISKS, "disk0"), "transactional")
        gate.wait_arrived()
        for verb in (
            ("apply", file, *elsewhere),
            ("load", "a", *elsewhere),
            ("delete", "a", *elsewhere),
            ("gc", *elsewhere),
            ("compare", file, "--measure", *elsewhere),
            ("recover", "--store", tmp_path / "store"),
        ):
            done = snapplan(*verb, "--vm", vm.directory / "other", "--json")
            assert (done.returncode, code_of(done)) == (10, "vm-locked"), (verb, done.stderr)
            assert f"process {running.pid} of user {os.getuid()}" in done.stderr
        gate.release()
        said, stderr = running.communicate(timeout=60)
    assert running.returncode == 0, stderr
    assert b"Manifest" in said
    assert_guest_unharmed(vm)


def stands(vm):
    """Whether no stream and no save of machine state is under way; one may wait to be continued."""
    moves = ("setup", "active", "device", "cancelling")
    return vm.execute("query-migrate").get("status") not in moves and vm.status() != "save-vm"


def gone_and_recovered(qemu, folder, capture, command, *, after):
    """Killed, its socket gone, QEMU alive: nothing is touched until another socket is named."""
    vm = start_with_two_sockets(qemu)
    before = account_of(vm)
    gone = killed(vm, folder, external_request(vm, capture), command, after=after)
    vm.wait_until(lambda: stands(vm), "a stream that moves no more")
    standing = account_of(vm)
    done = recover(gone, folder)
    assert (done.returncode, code_of(done)) == (22, "qemu-alive"), done.stderr
    assert str(vm.process.pid) in done.stderr
    assert account_of(vm) == standing
    done = recover(vm.directory / "other", folder)
    assert done.returncode == 0, done.stderr
    [recovered] = as_json(done)["recovered"]
    if recovered["end"] == "undone":
        assert account_of(vm) == before
    assert_guest_unharmed(vm)
    done = recover(vm.directory / "other", folder)
    assert as_json(done)["recovered"] == []


GONE = [
    ("internal", "transaction", True),
    ("none", "transaction", True),
    pytest.param("internal", "blockdev-add", True, marks=pytest.mark.long),
    pytest.param("stopped", "transaction", True, marks=pytest.mark.long),
    ("stopped", "migrate", True),
    pytest.param("live", "migrate", True, marks=pytest.mark.long),
    pytest.param("live", "migrate-continue", True, marks=pytest.mark.long),
]


@pytest.mark.sample(1)
@pytest.mark.parametrize(("capture", "command", "after"), GONE)
def test_a_socket_that_is_gone_is_not_a_qemu_that_is_gone(qemu, tmp_path, capture, command, after):
    """Nothing is touched, and the other socket of it finds the run and ends it."""
    gone_and_recovered(qemu, tmp_path, capture, command, after=after)


def can_unshare():
    """Whether this user may make a PID namespace."""
    return not subprocess.run(
        ["unshare", "--pid", "--fork", "true"], capture_output=True, check=False
    ).returncode


@pytest.mark.long
@pytest.mark.skipif(not can_unshare(), reason="this user may make no PID namespace")
def test_a_qemu_in_a_container_that_was_started_again_is_another(qemu, tmp_path, monkeypatch):
    """Its thread ids are the same every time; the killed run's overlay, which it never saw, stays."""
    inside = tmp_path / "qemu"
    inside.write_text(
        f'#!/bin/sh\nexec unshare --pid --fork --kill-child=KILL {qemu_binary()} "$@"\n'
    )
    inside.chmod(0o755)
    monkeypatch.setenv("SNAPPLAN_QEMU_IMG", qemu_img_binary())
    monkeypatch.setattr("tests.support.qemu.qemu_binary", lambda: str(inside))
    vm = start_with_two_sockets(qemu)
    killed(vm, tmp_path, external_request(vm, "none"), "transaction", after=True)
    overlay = vm.directory / f"a.{FIRMWARE}.qcow2"
    vm.wait_guest(2, since=len(vm.console()))
    content = overlay.read_bytes()
    vm.end()
    again = qemu.run(vm, vm.topology)
    done = recover(vm.directory / "other", tmp_path)
    assert done.returncode in {21, 22}, (done.stdout, done.stderr)
    assert overlay.stat().st_size >= len(content)
    assert again.status() == "running"


@pytest.mark.long
def test_a_run_that_loses_its_socket_touches_nothing(qemu, tmp_path):
    """QEMU lives, so overlay and images are its own: exit 22, and another socket ends the run."""
    vm = start_with_two_sockets(qemu)
    before = account_of(vm)
    with Gate(vm, "transaction") as gate:
        running = begin(gate, tmp_path, external_request(vm, "internal"))
        gate.wait_arrived()
        standing = account_of(vm)
    standing["files"].remove(gate.path.name)
    said, stderr = running.communicate(timeout=120)
    assert running.returncode == 22, (said, stderr)
    assert account_of(vm) == standing
    done = recover(vm.directory / "other", tmp_path)
    assert [each["end"] for each in as_json(done)["recovered"]] == ["undone"]
    assert account_of(vm) == before
    assert_guest_unharmed(vm)


def test_a_qemu_that_has_ended_is_gone(qemu, tmp_path):
    """A process that nobody has waited for yet has none of the images open."""
    vm = start_with_two_sockets(qemu)
    gone = killed(vm, tmp_path, request(), "transaction", after=True, design="transactional")
    vm.process.kill()
    os.waitid(os.P_PID, vm.process.pid, os.WEXITED | os.WNOWAIT)
    done = recover(gone, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [each["end"] for each in as_json(done)["recovered"]] == ["undone"]
    vm.process.wait()


def test_images_that_somebody_has_open_are_not_repaired(qemu, tmp_path):
    """The QEMU of the run has ended, and one that nobody told of has its images."""
    vm = start_with_two_sockets(qemu)
    gone = killed(vm, tmp_path, external_request(vm, "none"), "transaction", after=True)
    vm.process.kill()
    vm.process.wait()
    overlay = vm.directory / f"a.{FIRMWARE}.qcow2"
    again = qemu.run(vm, Topology((DiskSpec(DISKS[0]),)))
    try:
        done = recover(gone, tmp_path)
        assert (done.returncode, code_of(done)) == (22, "image-in-use"), done.stderr
        assert overlay.exists()
    finally:
        again.qmp.close()
        end_process(again.process)
    done = recover(gone, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not overlay.exists()
