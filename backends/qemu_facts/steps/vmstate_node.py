"""Machine state on a node that no guest uses."""

import os

from backends.qemu_facts.lab import images
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.qemu import qemu_img_binary
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.descriptors import add_fd

NODE = "vmstate0"


IMAGE_SET, LAYER_SET = 1 << 30, (1 << 30) + 1


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
    same(vm.save("t", [NODE]), None)
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
