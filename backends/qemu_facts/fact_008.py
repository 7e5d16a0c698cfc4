"""Fact 8: a tag is cut after 255 bytes."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.vm import internal


@experiment()
def long_tag_is_cut_and_cannot_be_loaded_as_given(target):
    """255 bytes of a tag are kept; the tag that was given names nothing then."""
    vm = target.start(two_disks())
    given = "x" * 300
    same(vm.save(given, ["disk0"]), None)
    same(vm.tags("disk0"), ["x" * 255])
    differs(vm.load(given, ["disk0"]), None)
    same(vm.load("x" * 255, ["disk0"]), None)


@experiment()
def empty_tag_passes_the_job_only(target):
    """snapshot-save takes an empty tag, a transaction does not."""
    vm = target.start(two_disks())
    same(vm.save("", ["disk0"]), None)
    same(vm.tags("disk0"), [""])
    same(vm.refused_transaction(internal("disk1", "")), "Name is empty")


if __name__ == "__main__":
    run_by_hand(globals())
