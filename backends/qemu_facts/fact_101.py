"""Fact 101: savevm deletes what has its name."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.hmp import held, hmp


@experiment()
def savevm_deletes_what_has_its_name_first(target):
    """Also on a disk that alone had it, and where that was another tool's."""
    vm = target.start(two_disks())
    vm.execute("blockdev-snapshot-internal-sync", {"device": "disk1", "name": "t"})
    vm.execute("blockdev-snapshot-internal-sync", {"device": "disk1", "name": "other"})
    before = vm.snapshots("disk1")
    same(hmp(vm, "savevm t"), "")
    other, after = vm.snapshots("disk1")
    same([s.id for s in before], ["1", "2"])
    same((other.id, after.id, after.tag), ("2", "3", "t"))
    same(held(vm, "disk0"), [("t", True)])


@experiment()
@cases("command", ["loadvm", "delvm"])
def what_is_not_there_is_an_error_of_loadvm_alone(target, command):
    """delvm says nothing; loadvm has stopped the guest before it says so (fact 18)."""
    vm = target.start(two_disks())
    vm.execute("cont")
    said = hmp(vm, f"{command} nope")
    error = "Error: Snapshot 'nope' does not exist in one or more devices\r\n"
    same(said, error if command == "loadvm" else "")
    state = vm.execute("query-status")["status"]
    same(state, "restore-vm" if command == "loadvm" else "running")


if __name__ == "__main__":
    run_by_hand(globals())
