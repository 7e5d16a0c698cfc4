"""snapplan or libvirtd killed at a step of a mixed snapshot: undone, and libvirt's view is right."""

import itertools
import subprocess

import pytest

from tests.live.runs import as_json, snapplan
from tests.live.test_libvirt import request, struck
from tests.support.libvirt import libvirtd, needed

pytestmark = pytest.mark.real_qemu

COMMANDS = ("blockdev-add", "stop", "snapshot-save", "transaction", "overlays", "cont")
_ALL = list(itertools.product(("before", "after"), COMMANDS, ("snapplan", "libvirtd")))
_IN_CI = ("after", "overlays", "snapplan")
CASES = [
    pytest.param(case, id="-".join(case), marks=() if case == _IN_CI else pytest.mark.long)
    for case in _ALL
]


@pytest.fixture(scope="module")
def daemon():
    with libvirtd() as started:
        yield started


@pytest.fixture(scope="module")
def domain(daemon):
    return daemon.domain("victim")


STREAMED = list(
    itertools.product(("before", "after"), ("migrate", "cont"), ("snapplan", "libvirtd"))
)


@pytest.mark.long
@pytest.mark.parametrize("case", STREAMED, ids="-".join)
def test_a_run_with_a_stream_that_was_killed_is_undone(daemon, domain, tmp_path, case):
    """Its file is gone as well, by either name."""
    state = daemon.folder / "state"
    killed_and_undone(daemon, domain, tmp_path, case, f"{{external: {state}, capture: stopped}}")
    assert not [*daemon.folder.glob("*state*"), *daemon.folder.glob(".*state*")]


@pytest.mark.sample(1)
@pytest.mark.parametrize("case", CASES)
def test_a_run_that_was_killed_is_undone(daemon, domain, tmp_path, case):
    """Nothing of it is left, the guest goes on, and libvirt sees the disks that it had before."""
    killed_and_undone(daemon, domain, tmp_path, case)


def killed_and_undone(daemon, domain, tmp_path, case, state="{internal: virtio-disk0}"):
    when, command, who = case
    where = ("--vm", domain.address, "--store", tmp_path / "store")
    overlay = daemon.folder / "overlay.qcow2"
    file = request(tmp_path, "k", state, f"{{external: {overlay}}}")
    pid = daemon.process.pid if who == "libvirtd" else 0
    died = struck(when, command, pid, "apply", file, *where)
    if who == "libvirtd":
        assert died.returncode in (20, 21, 22), died.stderr
        daemon.process.wait()
        daemon.start()
    else:
        assert died.returncode == -9
    recovered = snapplan("recover", *where)
    assert recovered.returncode == 0, recovered.stderr
    assert domain.sources() == [str(disk) for disk in domain.disks]
    assert not overlay.exists()
    assert "no snapshots" in snapplan("list", *where).stdout
    assert daemon.virsh("snapshot-list", domain.name, "--name") == ""
    assert domain.state.startswith("running")
    domain.wait_guest(since=len(domain.console()))


@pytest.mark.long
def test_libvirt_goes_on_from_a_mixed_snapshot(daemon, tmp_path):
    """Save and restore, and block commit, of a domain with an overlay: the guest never complains."""
    domain = daemon.domain("after")
    domain.wait_guest()
    where = ("--vm", domain.address, "--store", tmp_path / "store")
    overlay = daemon.folder / "after-overlay.qcow2"
    file = request(tmp_path, "m", second=f"{{external: {overlay}}}")
    assert snapplan("apply", file, *where).returncode == 0
    daemon.virsh("save", domain.name, daemon.folder / "saved")
    daemon.virsh("restore", daemon.folder / "saved")
    assert domain.sources() == [str(domain.disks[0]), str(overlay)]
    domain.wait_guest(since=len(domain.console()))
    daemon.virsh("blockcommit", domain.name, "vdb", "--active", "--pivot", "--wait")
    assert domain.sources() == [str(disk) for disk in domain.disks]
    domain.wait_guest(since=len(domain.console()))
    daemon.virsh("destroy", domain.name)
    daemon.virsh("start", domain.name)
    assert [each for _, each in domain.chain(1)] == [str(domain.disks[1])]


def io(domain, words, device="/machine/peripheral/virtio-disk1/virtio-backend"):
    """Have the second disk's device read or write, as a guest would."""
    [log] = domain.daemon.folder.rglob(f"log/{domain.name}.log")
    before = len(log.read_text())
    line = f'qemu-io -d {device} "{words}"'
    assert not domain.qmp("human-monitor-command", **{"command-line": line})
    said = log.read_text()[before:]  # QEMU prints there, not in its answer
    assert "4096/4096" in said, said
    assert "failed" not in said, said


@pytest.mark.long
@pytest.mark.parametrize("restarted", [False, True])
def test_a_domain_that_ended_in_a_run_and_was_started_on_the_overlay(daemon, tmp_path, restarted):
    """Its remedy keeps it while the domain runs on it; once it is merged, nothing is left."""
    domain = daemon.domain(f"ended-{int(restarted)}")
    domain.wait_guest()
    where = ("--vm", domain.address, "--store", tmp_path / "store")
    overlay = daemon.folder / f"{domain.name}-overlay.qcow2"
    file = request(tmp_path, "e", second=f"{{external: {overlay}}}")
    assert struck("after", "overlays", 0, "apply", file, *where).returncode == -9
    daemon.virsh("destroy", domain.name)
    daemon.virsh("start", domain.name)
    assert domain.sources() == [str(domain.disks[0]), str(overlay)]
    io(domain, "write -P 7 64k 4k")  # the toy guest does not start anew on what it has written
    for _ in range(2):
        held = snapplan("recover", *where, "--json")
        assert held.returncode == 21, held.stderr
        problem = as_json(held)["error"]["problems"][-1]
        assert (problem["code"], problem["subject"]) == ("overlay-in-use", str(overlay))
        assert "do not remove it" in problem["remedy"]
        assert overlay.exists()
    daemon.virsh("blockcommit", domain.name, "vdb", "--active", "--pivot", "--wait")
    io(domain, "read -P 7 64k 4k")
    io(domain, "write -P 8 64k 4k")  # now it differs from the overlay
    if restarted:  # then no process tells any more that it had been merged
        daemon.virsh("destroy", domain.name)
        daemon.virsh("start", domain.name)
        unknown = snapplan("recover", *where, "--json")
        assert unknown.returncode == 21, unknown.stderr
        problem = as_json(unknown)["error"]["problems"][-1]
        assert problem["code"] == "file-left"
        assert "Remove it only if it was merged" in problem["remedy"]
        overlay.unlink()
    done = snapplan("recover", *where)
    assert done.returncode == 0, done.stderr
    assert not overlay.exists()
    assert "nothing was pending" in snapplan("recover", *where).stdout
    assert domain.sources() == [str(disk) for disk in domain.disks]
    assert "no snapshots" in snapplan("list", *where).stdout
    io(domain, "read -P 8 64k 4k")


@pytest.mark.long
def test_an_overlay_whose_disk_was_attached_anew_on_its_base_is_kept(daemon, tmp_path):
    """It alone has what the guest wrote, though its QEMU was started on it and has left it."""
    domain = daemon.domain("anew", bus="scsi")
    domain.wait_guest()
    where = ("--vm", domain.address, "--store", tmp_path / "store")
    overlay, base = daemon.folder / "anew-overlay.qcow2", domain.disks[1]
    file = tmp_path / "request.yaml"
    file.write_text(
        "tag: a\nmachine-state: {internal: vda}\n"
        f"disks: {{vda: internal, sdb: {{external: {overlay}}}}}\n"
    )
    assert struck("after", "overlays", 0, "apply", file, *where).returncode == -9
    daemon.virsh("destroy", "anew")
    daemon.virsh("start", "anew")
    io(domain, "write -P 7 64k 4k", "scsi0-0-0-1")
    daemon.virsh("detach-disk", "anew", "sdb")
    how = ("--targetbus", "scsi", "--subdriver", "qcow2")
    daemon.virsh("attach-disk", "anew", base, "sdb", *how)
    assert domain.sources()[1] == str(base)
    for _ in range(2):
        kept = snapplan("recover", *where, "--json")
        assert kept.returncode == 21, kept.stderr
        problem = as_json(kept)["error"]["problems"][-1]
        assert (problem["code"], problem["subject"]) == ("file-left", str(overlay))
        assert "Remove it only if it was merged" in problem["remedy"]
    content = tmp_path / "raw"
    convert = [needed("qemu-img"), "convert", "-U", "-O", "raw", overlay, content]
    subprocess.run([*map(str, convert)], check=True)
    assert content.read_bytes()[65536 : 65536 + 4096] == bytes([7]) * 4096
