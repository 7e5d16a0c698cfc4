"""Fact 5: vmstate must be one of the devices."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def vmstate_must_be_among_the_devices(target):
    """A vmstate node that is not in `devices` is a job error."""
    vm = target.start(two_disks())
    words = vm.save("a", ["disk1"], "disk0")
    same(words, "vmstate block device 'disk0' does not exist")


@experiment()
def no_devices_is_a_job_error(target):
    """An empty `devices` is accepted and fails in the job."""
    vm = target.start(two_disks())
    differs(vm.save("a", [], "disk0"), None)
    same(vm.tags("disk0"), [])


@experiment()
def node_listed_twice_gets_two_snapshots(target):
    """Nothing finds out that a node is named twice: it then holds the tag twice."""
    vm = target.start(two_disks())
    same(vm.save("a", ["disk0", "disk1", "disk1"]), None)
    same(vm.tags("disk0"), ["a"])
    same(vm.tags("disk1"), ["a", "a"])


if __name__ == "__main__":
    run_by_hand(globals())
