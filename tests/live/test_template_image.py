"""Templates of snapshots whose machine state is in an image of its own (decisions 21 and 25)."""

import pytest

from tests.live.made_templates import made
from tests.live.restores import request_of, restored, save_external
from tests.live.templates import Clones, clone_line, wait
from tests.support.guest import heartbeats
from tests.support.qemu import file_mode
from tests.support.topology import DiskKind, two_disks
from tests.support.user import as_nobody

pytestmark = pytest.mark.real_qemu


def start(qemu, topology):
    return qemu.start(topology)


@pytest.mark.parametrize(
    "begin", [start, pytest.param(as_nobody, marks=pytest.mark.long)], ids=["ours", "nobody"]
)
def test_the_image_is_read_and_stays_what_it_is(qemu, begin):
    """One disk inside an image, one under an overlay; a clone goes on, and a restore still does."""
    vm = begin(qemu, two_disks(DiskKind.RAW, guest=True))
    before = vm.wait_guest(1)[-1]
    image = vm.directory / "a state.qcow2"
    parts = {"disk0": "internal", "disk1": vm.directory / "o1.qcow2"}
    manifest = save_external(vm, request_of("a", parts, {"image": str(image)}))
    vm.wait_guest(3, since=len(vm.console()))
    later = heartbeats(vm.console())[-1]
    vm.end()
    files = [path for path in vm.directory.glob("*.*") if path.is_file()]
    was = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    found = made(vm, manifest, line=clone_line(vm, manifest))
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files} == was
    assert image in files
    assert file_mode(image) == 0o600
    assert sorted(path.name for path in vm.directory.glob(".*")) == []
    assert {disk.disk: disk.own for disk in found.disks} == {"disk0": True, "disk1": False}
    with Clones(vm) as clones:
        clones.load("a", "--clones", "1", "--qmp", vm.directory / "c{clone}")
        wait(lambda: len(heartbeats(clones.console(1))) > 2)
        assert "start" not in clones.console(1)
        assert before < heartbeats(clones.console(1))[0] < later
    with restored(vm, manifest, "--yes") as again:
        counters = again.wait_guest(3)
        assert before < counters[0] < later
