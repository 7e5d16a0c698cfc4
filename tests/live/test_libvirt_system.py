"""The same on a libvirtd that runs as root, whose QEMU runs as another user."""

import pwd

import pytest

from tests.live.runs import snapplan
from tests.live.test_libvirt import (
    domain,
    request,
    test_a_live_stream_of_a_domain,
    test_a_mixed_snapshot_and_its_delete,
    test_every_verb_on_a_domain,
    test_overlays_that_libvirt_refuses_are_undone_with_what_was_made,
    test_what_libvirt_is_about_is_not_met,
    where,
)
from tests.live.test_libvirt_restore import went_back
from tests.support import guest
from tests.support.libvirt import libvirtd
from tests.support.system_libvirtd import SystemLibvirtd

pytestmark = [pytest.mark.real_qemu, pytest.mark.long]
__all__ = [
    "domain",
    "test_a_live_stream_of_a_domain",
    "test_a_mixed_snapshot_and_its_delete",
    "test_every_verb_on_a_domain",
    "test_overlays_that_libvirt_refuses_are_undone_with_what_was_made",
    "test_what_libvirt_is_about_is_not_met",
    "where",
]


@pytest.fixture(scope="module")
def daemon():
    with libvirtd(SystemLibvirtd) as started:
        yield started


def owner(path):
    return pwd.getpwuid(path.stat().st_uid).pw_name


def test_whose_the_files_are(daemon, tmp_path):
    """QEMU's user gets what it opens, and nobody else does; root's libvirt restores root's file."""
    web = daemon.domain("web")
    web.wait_guest()
    user = owner(web.disks[0])
    assert user != "root"
    state, overlay = daemon.folder / "web.state", daemon.folder / "web-over.qcow2"
    file = request(
        daemon.folder, "w", f"{{external: {state}, capture: stopped}}", f"{{external: {overlay}}}"
    )
    web.disks[1].chmod(0o600)
    where = ("--vm", web.address, "--store", tmp_path / "store")
    assert snapplan("apply", file, *where).returncode == 0
    assert (owner(state), state.stat().st_mode & 0o777) == ("root", 0o600)
    assert (owner(overlay), overlay.stat().st_mode & 0o777) == (user, 0o600)
    upto = guest.heartbeats(web.console())[-1]
    web.wait_guest(since=len(web.console()))
    daemon.virsh("destroy", "web")
    assert snapplan("load", "w", "--offline", "--yes", *where[2:]).returncode == 0
    daemon.virsh("restore", state)
    went_back(web, upto)
    assert web.sources()[1] == str(daemon.folder / "web-over.restored-1.qcow2")
