"""Fact 61: an image that is only opened keeps its time."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.images import qemu_img
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.qemu import qemu_img_binary
from backends.qemu_facts.lab.topology import DiskKind, two_disks


def evidence(vm):
    """Length and time of the last write of each image."""
    found = {disk: vm.image(disk).stat() for disk in ("disk0", "disk1")}
    return {disk: (each.st_size, each.st_mtime_ns) for disk, each in found.items()}


@experiment()
def an_image_that_is_only_opened_keeps_length_and_time(qemu):
    """By QEMU for writing, by an overlay for reading, and by all of qemu-img that does not write."""
    vm = qemu.start(two_disks(DiskKind.RAW))
    before = evidence(vm)
    vm.execute("stop")
    vm.execute("cont")
    vm.end()
    same(evidence(vm), before)
    for disk, form in (("disk0", "qcow2"), ("disk1", "raw")):
        image = vm.image(disk)
        for words in (("info", "-f", form), ("map", "-f", form), ("compare", "-f", form, image)):
            qemu_img(qemu_img_binary(), *words, image)
        over = vm.directory / f"{disk}.over"
        qemu_img(qemu_img_binary(), "create", "-q", "-f", "qcow2", "-F", form, "-b", image, over)
        qemu_img(qemu_img_binary(), "convert", "-f", "qcow2", "-O", "raw", over, f"{over}.raw")
    qemu_img(qemu_img_binary(), "check", "-f", "qcow2", vm.image("disk0"))
    same(evidence(vm), before)


if __name__ == "__main__":
    run_by_hand(globals())
