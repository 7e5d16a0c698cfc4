"""Fact 52: any text can be a tag."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
@cases("tag", ["a/b", "two words", "ümläut-日本", 'a"b\\c', "new\nline", "%n", "-x", "a=b,c"])
def any_text_is_a_tag(target, tag):
    """Slash, blank, quotes, control characters and non-ASCII pass job and transaction unchanged."""
    vm = target.start(two_disks())
    same(vm.save(tag, ["disk0", "disk1"]), None)
    holds(vm.tags("disk0") == vm.tags("disk1") == [tag])
    same(vm.load(tag, ["disk0", "disk1"]), None)
    same(vm.delete(tag, ["disk0", "disk1"]), None)
    vm.snapshot_disks(tag, "disk0", "disk1")
    holds(vm.tags("disk0") == vm.tags("disk1") == [tag])


@experiment()
def qemu_img_knows_any_tag(qemu):
    """What QEMU wrote, qemu-img shows and reverts to by the same name."""
    vm = qemu.start(two_disks())
    tags = ["a/b", "two words", "ümläut-日本", "-x"]
    for tag in tags:
        vm.snapshot_disks(tag, "disk0")
    vm.end()
    same(vm.image_tags("disk0"), tags)
    for tag in tags:
        vm.revert_image("disk0", tag)


if __name__ == "__main__":
    run_by_hand(globals())
