"""Fact 9: a tag of digits loads the snapshot of that id."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import defect, same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def tag_of_digits_restores_the_snapshot_of_that_id(qemu):
    """Loading the tag `2` brings back the later snapshot `x`, whose id is 2."""
    vm = qemu.start(two_disks(guest=True))
    devices = ["disk0", "disk1"]
    vm.wait_guest(1)
    same(vm.save("2", devices), None)
    between = vm.wait_guest(5)[-1]
    same(vm.save("x", devices), None)
    same([(s.id, s.tag) for s in vm.snapshots("disk0")], [("1", "2"), ("2", "x")])

    vm.execute("stop")
    loaded_at = len(vm.console())
    same(vm.load("2", devices), None)
    vm.execute("cont")
    at_x = vm.wait_guest(1, since=loaded_at)[0] > between
    defect(at_x, known=True, right=False)


if __name__ == "__main__":
    run_by_hand(globals())
