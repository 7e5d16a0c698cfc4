"""Fact 115: a copy into a raw file keeps the file's room, and is the disk's bytes and nothing else."""

from backends.qemu_facts.lab import images
from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import missing, same
from backends.qemu_facts.lab.qemu import qemu_img_binary
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.copies import concluded, copying


@experiment()
def a_copy_goes_into_a_file_without_a_format(qemu):
    """The target is a node of `driver: file`; zeroes are written, and no hole is made of them."""
    vm = qemu.start(two_disks(guest=True))
    size = vm.topology.disk("disk0").size_bytes
    path = vm.directory / "copy.raw"
    new = ("create", "-q", "-f", "raw", "-o", "preallocation=falloc", path, str(size))
    images.qemu_img(qemu_img_binary(), *new)
    vm.execute("blockdev-add", {"driver": "file", "node-name": "copy", "filename": str(path)})
    mark = copying(vm, speed=0)
    missing("error", concluded(vm, mark))
    vm.execute("job-dismiss", id="copy")
    vm.execute("blockdev-del", {"node-name": "copy"})
    same((path.stat().st_size, path.stat().st_blocks * 512 >= size), (size, True))
    vm.end()
    read = vm.directory / "read"
    images.qemu_img(qemu_img_binary(), "convert", "-O", "raw", vm.image("disk0"), read)
    same(path.read_bytes() == read.read_bytes(), True)


@experiment()
def a_file_of_another_length_is_no_target(qemu):
    """Refused before anything begins; the file is as it was."""
    vm = qemu.start(two_disks())
    path = vm.directory / "copy.raw"
    path.write_bytes(bytes(2**20))
    vm.execute("blockdev-add", {"driver": "file", "node-name": "copy", "filename": str(path)})
    data = {"job-id": "copy", "device": "disk0", "target": "copy", "sync": "full"}
    told = vm.refused_transaction(("blockdev-backup", data))
    same(told, "Source and target image have different sizes")
    same(path.read_bytes(), bytes(2**20))


if __name__ == "__main__":
    run_by_hand(globals())
