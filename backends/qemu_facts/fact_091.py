"""Fact 91: a load writes to the node it reads from."""

import os

from backends.qemu_facts.lab import images
from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, found, same
from backends.qemu_facts.lab.qemu import qemu_img_binary
from backends.qemu_facts.steps.vmstate_node import (
    IMAGE_SET,
    LAYER_SET,
    NODE,
    add_node,
    by_set,
    layered,
    pass_file,
    remove_node,
    saved,
)


@experiment()
def a_load_writes_to_the_node_that_it_reads_from(qemu):
    """For reading only it is refused; an overlay shows no snapshot; else the file is changed."""
    vm, path, _, _ = saved(qemu)
    vm.execute("stop")
    pass_file(vm, path, os.O_RDONLY, IMAGE_SET)
    add_node(vm, by_set(IMAGE_SET, **{"read-only": True}), **{"read-only": True})
    words = vm.load("t", [NODE])
    same(words, f"Device '{NODE}' is writable but does not support snapshots")
    remove_node(vm, IMAGE_SET)
    over = vm.directory / "over.qcow2"
    images.qemu_img(
        *(qemu_img_binary(), "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", path, over)
    )
    add_node(vm, {"driver": "file", "filename": str(over)})
    found("does not exist", vm.load("t", [NODE]))
    remove_node(vm)
    content = path.read_bytes()
    add_node(vm, {"driver": "file", "filename": str(path)})
    same(vm.load("t", [NODE, "disk0", "disk1"]), None)
    remove_node(vm)
    differs(path.read_bytes(), content)


@experiment()
def a_layer_over_its_bytes_takes_what_is_written(qemu):
    """Twice, and the image is what it was, byte for byte, by its times too."""
    vm, path, _, _ = saved(qemu)
    was = path.read_bytes(), path.stat().st_mtime_ns
    for _ in range(2):
        layered(vm, path)
        vm.execute("stop")
        same(vm.load("t", [NODE, "disk0", "disk1"]), None)
        remove_node(vm, IMAGE_SET, LAYER_SET)
        (vm.directory / "layer").unlink()
        vm.execute("cont")
    same((path.read_bytes(), path.stat().st_mtime_ns), was)


if __name__ == "__main__":
    run_by_hand(globals())
