"""A domain of a real libvirt: every verb through its monitor, and its own view right afterwards."""

import asyncio
import subprocess
import sys

import pytest

from backends.domain.backend import connect
from planner.library.conformance.checks import CHECKS
from planner.run.ports import CommandRefused
from tests.live.runs import as_json, snapplan
from tests.support.libvirt import libvirtd

pytestmark = pytest.mark.real_qemu

REQUEST = """\
tag: {tag}
machine-state: {state}
disks: {{virtio-disk0: internal, virtio-disk1: {second}}}
"""


@pytest.fixture(scope="module")
def daemon():
    with libvirtd() as started:
        yield started


@pytest.fixture(scope="module")
def domain(daemon):
    """One domain whose guest runs, for tests that leave it as it was."""
    started = daemon.domain()
    started.wait_guest()
    return started


@pytest.fixture
def where(domain, tmp_path):
    return ("--vm", domain.address, "--store", tmp_path / "store")


def request(tmp_path, tag, state="{internal: virtio-disk0}", second="internal"):
    file = tmp_path / f"{tag}.yaml"
    file.write_text(REQUEST.format(tag=tag, state=state, second=second))
    return file


def struck(when, command, pid, *words):
    """A snapplan that is struck at a command; see `tests.live.struck`."""
    program = [sys.executable, "-m", "tests.live.struck", when, command, pid, *words]
    return subprocess.run(
        [*map(str, program)], capture_output=True, text=True, check=False, timeout=280
    )


def refused(done):
    """The codes of a refusal."""
    assert done.returncode == 10, done.stderr
    return [each["code"] for each in as_json(done)["error"]["problems"]]


def test_the_libvirt_backend_keeps_every_promise(domain):
    """As a user calls the suite; the guest runs on, and libvirt knows that it does."""
    suite = [sys.executable, "-m", "snapplan.conformance.backend", domain.address]
    done = subprocess.run(suite, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CHECKS) + 1} kept, 0 broken" in done.stdout
    assert domain.state.startswith("running")


def test_every_verb_on_a_domain(domain, where, tmp_path):
    """Save, list, verify, load, delete: the guest goes back, and libvirt's view is right."""
    file = request(tmp_path, "a")
    saved = snapplan("apply", file, *where, "--design", "transactional", "--json")
    assert saved.returncode == 0, saved.stderr
    assert domain.state == "running (unpaused)"
    assert [each["tag"] for each in as_json(snapplan("list", *where, "--json"))["snapshots"]] == [
        "a"
    ]
    assert snapplan("verify", "a", *where).returncode == 0
    since = len(domain.console())
    domain.wait_guest(beats=3, since=since)
    loaded = snapplan("load", "a", *where, "--yes")
    assert loaded.returncode == 0, loaded.stderr
    domain.wait_went_back(since)
    assert domain.state.startswith("running")
    assert snapplan("delete", "a", *where, "--yes").returncode == 0
    assert "nothing was pending" in snapplan("recover", *where).stdout


@pytest.mark.long
def test_a_live_stream_of_a_domain(domain, where, tmp_path):
    """Machine state by descriptor through libvirt's monitor; disks of the same instant."""
    state = tmp_path / "state"
    file = request(tmp_path, "s", f"{{external: {state}, capture: live}}")
    saved = snapplan("apply", file, *where)
    assert saved.returncode == 0, saved.stderr
    assert state.stat().st_size
    assert domain.state.startswith("running")
    domain.wait_guest(since=len(domain.console()))
    assert snapplan("delete", "s", *where, "--yes").returncode == 0


def test_a_mixed_snapshot_and_its_delete(daemon, domain, where):
    """An overlay beside internal parts goes by libvirt: its XML follows it there and back."""
    overlay = daemon.folder / "overlay.qcow2"
    bases = [str(disk) for disk in domain.disks]
    file = request(daemon.folder, "m", second=f"{{external: {overlay}}}")
    saved = snapplan("apply", file, *where)
    assert saved.returncode == 0, saved.stderr
    assert "start QEMU on the overlay" not in saved.stdout
    assert domain.sources() == [bases[0], str(overlay)]
    assert str(overlay) in daemon.virsh("dumpxml", domain.name, "--inactive")
    assert snapplan("verify", "m", *where).returncode == 0
    domain.wait_guest(since=len(domain.console()))
    deleted = snapplan("delete", "m", *where, "--yes", "--overlays", "commit")
    assert deleted.returncode == 0, deleted.stderr
    assert domain.sources() == bases
    assert not overlay.exists()
    domain.wait_guest(since=len(domain.console()))


@pytest.mark.long
def test_what_libvirt_is_about_is_not_met(daemon, domain, where, tmp_path):
    """A job that libvirt runs, and a tag that it has given; disks are named by their targets."""
    file = tmp_path / "t.yaml"
    file.write_text("tag: t\nmachine-state: none\ndisks: {vda: internal, vdb: internal}\n")
    plan = ("plan", file, *where[:2], "--json")
    assert snapplan("apply", request(tmp_path, "before"), *where).returncode == 0
    spec = ("--disk-only", "--diskspec", "vda,snapshot=no", "--diskspec")
    overlay = daemon.folder / "libvirts.qcow2"
    daemon.virsh("snapshot-create-as", domain.name, "t", *spec, f"vdb,file={overlay}")
    assert refused(snapplan(*plan)) == ["tag-taken-by-libvirt"]
    daemon.virsh("snapshot-delete", domain.name, "t", "--metadata")
    daemon.virsh("blockcommit", domain.name, "vdb", "--active", "--pivot", "--wait")
    overlay.unlink()  # libvirt leaves it, and it would lie over the disk for whoever looks
    undone = ("before", *where, "--yes", "--json")
    job = tmp_path / "backup.xml"
    server = f"<server transport='unix' socket='{daemon.consoles}/nbd'/>"
    job.write_text(f"<domainbackup mode='pull'>{server}</domainbackup>")
    daemon.virsh("backup-begin", domain.name, job)
    try:
        for words in (plan, ("load", *undone), ("delete", *undone)):
            assert "libvirt-job-active" in refused(snapplan(*words)), words
        assert "libvirt-job-active" in snapplan("doctor", *where, "--json").stdout
        with pytest.raises(AssertionError, match="in the midst of it"):
            asyncio.run(stopped(domain))
    finally:
        daemon.virsh("domjobabort", domain.name)
    assert snapplan(*plan).returncode == 0
    assert snapplan("delete", *undone).returncode == 0


async def stopped(domain):
    """Try to stop the guest, as a run that was planned before would."""
    backend = await connect(domain.address)
    try:
        await backend.execute("stop", {}, 30.0)
    except CommandRefused as error:
        raise AssertionError(error.description) from error
    finally:
        await backend.close()


@pytest.mark.long
def test_overlays_that_libvirt_refuses_are_undone_with_what_was_made(daemon, domain, where):
    """The second of two calls fails, after the internal part is made: nothing is left."""
    overlay = daemon.folder / "refused.qcow2"
    file = request(daemon.folder, "r", second=f"{{external: {overlay}}}")
    failed = struck("before", "overlays", -1, "apply", file, *where)
    assert failed.returncode == 20, failed.stderr
    assert "no part of the snapshot is left" in failed.stderr
    assert domain.sources() == [str(disk) for disk in domain.disks]
    assert not overlay.exists()
    assert domain.state.startswith("running")


def test_overlays_beside_others_without_a_pause_are_refused(daemon, where):
    """Two calls of libvirt are one instant only while the guest stands."""
    overlay = daemon.folder / "overlay.qcow2"
    file = request(daemon.folder, "n", "none", f"{{external: {overlay}}}")
    assert refused(snapplan("plan", file, *where[:2], "--json")) == ["overlay-not-alone"]


def test_an_overlay_behind_libvirts_back_is_refused(daemon, tmp_path):
    """Over an extra socket of libvirt's QEMU: the domain would start without it (fact 132)."""
    socket = daemon.folder / "extra.sock"
    option = f"<qemu:arg value='-qmp'/><qemu:arg value='unix:{socket},server=on,wait=off'/>"
    daemon.domain("extra", more=option)
    file = request(tmp_path, "o", second=f"{{external: {tmp_path / 'overlay.qcow2'}}}")
    assert refused(snapplan("plan", file, "--vm", socket, "--json")) == ["overlay-behind-libvirt"]
    shown = as_json(snapplan("inspect", "--vm", socket, "--json"))
    assert [disk["name"] for disk in shown["disks"]] == ["virtio-disk0", "virtio-disk1"]


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("address", "exit_code", "code"),
    [
        ("qemu:///system", 2, "address-malformed"),
        ("libvirt:qemu:///system#", 2, "address-malformed"),
        ("qemu+unix:///session?socket=/no/socket#toy", 12, "nobody-listens"),
        ("{uri}#nobody", 12, "domain-unknown"),
        ("libvirt:{uri}#off", 12, "domain-off"),
    ],
)
def test_a_domain_that_is_not_there(daemon, address, exit_code, code):
    """Each with its code, and what to do."""
    off = daemon.virsh("dominfo", "off", may_fail=True)
    if off is None and "off" in address:
        daemon.domain("off", disks=1)
        daemon.virsh("destroy", "off")
    said = snapplan("inspect", "--vm", address.format(uri=daemon.uri), "--json")
    assert (said.returncode, as_json(said)["error"]["code"]) == (exit_code, code)


def test_the_event_loop_has_ended_before_python_does():
    """Else libvirt calls back while Python takes itself down: SIGSEGV, in one of ninety runs."""
    program = """
import atexit, threading

def alive():
    print([each.name for each in threading.enumerate() if each.name == "libvirt-events"])

atexit.register(alive)  # the first that is registered is the last that is called
from backends.domain.bindings import bindings
bindings()
alive()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout.split()) == (0, ["['libvirt-events']", "[]"]), done.stderr
