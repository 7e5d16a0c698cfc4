"""A domain of a real libvirt: every verb through its monitor, and its own view right afterwards."""

import subprocess
import sys

import pytest

from planner.library.conformance.checks import CHECKS
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


def test_an_overlay_behind_libvirts_back_is_refused(where, tmp_path):
    """libvirt would start the domain from the image under it (fact 132)."""
    overlay = tmp_path / "overlay.qcow2"
    file = request(tmp_path, "o", second=f"{{external: {overlay}}}")
    refused = snapplan("apply", file, *where, "--json")
    assert refused.returncode == 10
    codes = [each["code"] for each in as_json(refused)["error"]["problems"]]
    assert codes == ["overlay-behind-libvirt"]
    assert not overlay.exists()


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
