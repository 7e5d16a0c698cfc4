"""Facts 90 to 92: machine state on a node that no guest uses, and how it is read unchanged."""

import os

import pytest

from tests.conformance.test_facts_descriptors import add_fd
from tests.support import guest, images
from tests.support.qemu import qemu_img_binary
from tests.support.topology import two_disks

NODE = "vmstate0"
IMAGE_SET, LAYER_SET = 1 << 30, (1 << 30) + 1
pytestmark = pytest.mark.real_qemu


def qcow2(path, size):
    images.qemu_img(qemu_img_binary(), "create", "-q", "-f", "qcow2", path, str(size))
    return path


def new_image(vm):
    """A small image, 0600, and its descriptor in a set of QEMU's."""
    path = qcow2(vm.directory / "vmstate.qcow2", 2**20)
    path.chmod(0o600)
    pass_file(vm, path, os.O_RDWR, IMAGE_SET)
    return path


def pass_file(vm, path, flags, number):
    descriptor = os.open(path, flags)
    try:
        add_fd(vm, descriptor, number)
    finally:
        os.close(descriptor)


def add_node(vm, file, **more):
    vm.execute("blockdev-add", {"driver": "qcow2", "node-name": NODE, "file": file, **more})


def by_set(number, **more):
    return {"driver": "file", "filename": f"/dev/fdset/{number}", **more}


def remove_node(vm, *sets):
    vm.execute("blockdev-del", {"node-name": NODE})
    for number in sets:
        vm.execute("remove-fd", {"fdset-id": number})


def saved(qemu):
    """A VM saved with its machine state on the node; the image, a counter before, and what was shown."""
    vm = qemu.start(two_disks(guest=True))
    before = vm.wait_guest(1)[-1]
    path = new_image(vm)
    add_node(vm, by_set(IMAGE_SET))
    vm.execute("stop")
    assert vm.save("t", [NODE]) is None
    vm.snapshot_disks("t", "disk0", "disk1")
    shown = {name: node["image"].get("snapshots") for name, node in vm.nodes().items()}
    vm.execute("cont")
    remove_node(vm, IMAGE_SET)
    return vm, path, before, shown


def layered(vm, path):
    """The node over a throw-away layer over the image's own bytes."""
    layer = qcow2(vm.directory / "layer", 2**28)
    pass_file(vm, path, os.O_RDONLY, IMAGE_SET)
    pass_file(vm, layer, os.O_RDWR, LAYER_SET)
    below = by_set(IMAGE_SET, **{"read-only": True})
    add_node(vm, {"driver": "qcow2", "file": by_set(LAYER_SET), "backing": below})


def test_fact_90_machine_state_goes_to_a_node_that_no_guest_uses(qemu):
    """The clocks are one; no disk holds any of it; the image is small, sound, and still 0600."""
    vm, path, _, shown = saved(qemu)
    clocks = {
        name: (held[0]["vm-clock-sec"], held[0]["vm-clock-nsec"])
        for name, held in shown.items()
        if held
    }
    assert set(clocks) == {NODE, "disk0", "disk1"}
    assert len(set(clocks.values())) == 1
    sizes = {name: shown[name][0]["vm-state-size"] for name in clocks}
    assert sizes["disk0"] == sizes["disk1"] == 0 < sizes[NODE]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size < 8 * 2**20
    assert NODE not in vm.nodes()
    assert vm.execute("query-fdsets") == []
    vm.end()
    images.check(qemu_img_binary(), path)


def test_fact_90_one_load_reads_it_with_the_disks(qemu):
    """In the VM itself, and in a fresh QEMU: the guest goes on from the saved instant."""
    vm, path, before, _ = saved(qemu)
    devices = [NODE, "disk0", "disk1"]
    vm.wait_guest(3, since=len(vm.console()))
    later = guest.heartbeats(vm.console())[-1]
    layered(vm, path)
    vm.execute("stop")
    assert vm.load("t", devices) is None
    remove_node(vm, IMAGE_SET, LAYER_SET)
    vm.end()
    (vm.directory / "layer").unlink()
    again = qemu.run(vm, vm.topology, "-S")
    layered(again, path)
    assert again.load("t", devices) is None
    remove_node(again, IMAGE_SET, LAYER_SET)
    again.execute("cont")
    counters = again.wait_guest(3)
    assert before < counters[0] <= later + guest.HEARTBEAT_ROUNDS
    assert "start" not in again.console()


def test_fact_91_a_load_writes_to_the_node_that_it_reads_from(qemu):
    """For reading only it is refused; an overlay shows no snapshot; else the file is changed."""
    vm, path, _, _ = saved(qemu)
    vm.execute("stop")
    pass_file(vm, path, os.O_RDONLY, IMAGE_SET)
    add_node(vm, by_set(IMAGE_SET, **{"read-only": True}), **{"read-only": True})
    words = vm.load("t", [NODE])
    assert words == f"Device '{NODE}' is writable but does not support snapshots"
    remove_node(vm, IMAGE_SET)
    over = vm.directory / "over.qcow2"
    images.qemu_img(
        *(qemu_img_binary(), "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", path, over)
    )
    add_node(vm, {"driver": "file", "filename": str(over)})
    assert "does not exist" in vm.load("t", [NODE])
    remove_node(vm)
    content = path.read_bytes()
    add_node(vm, {"driver": "file", "filename": str(path)})
    assert vm.load("t", [NODE, "disk0", "disk1"]) is None
    remove_node(vm)
    assert path.read_bytes() != content


def test_fact_91_a_layer_over_its_bytes_takes_what_is_written(qemu):
    """Twice, and the image is what it was, byte for byte, by its times too."""
    vm, path, _, _ = saved(qemu)
    was = path.read_bytes(), path.stat().st_mtime_ns
    for _ in range(2):
        layered(vm, path)
        vm.execute("stop")
        assert vm.load("t", [NODE, "disk0", "disk1"]) is None
        remove_node(vm, IMAGE_SET, LAYER_SET)
        (vm.directory / "layer").unlink()
        vm.execute("cont")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == was


def test_fact_92_a_set_of_a_vm_that_stands(qemu):
    """Before 8 it is listed until the guest runs, though it was taken back; from 10 on it is gone."""
    vm = qemu.start(two_disks(paused=True))
    new_image(vm)
    vm.execute("remove-fd", {"fdset-id": IMAGE_SET})
    listed = [each["fdset-id"] for each in vm.execute("query-fdsets")]
    assert listed == ([IMAGE_SET] if vm.version < (8, 0) else [])
