"""Fact 18: a failed load leaves a VM that ran stopped."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import differs, same
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology, two_disks


@experiment()
@cases(
    ("tag", "devices"),
    [
        ("nothing", ["disk0", "disk1"]),
        ("a", ["disk0", "nowhere"]),
        ("a", ["disk0", "raw"]),
        ("a", ["disk0", "bare"]),
    ],
    ["no such tag", "missing node", "raw disk", "one disk without the tag"],
)
def failed_load_leaves_a_running_vm_stopped(target, tag, devices):
    """Whatever makes a load fail, a VM that ran is stopped in `restore-vm`; `cont` resumes it."""
    disks = (
        *(DiskSpec("disk0"), DiskSpec("disk1")),
        *(DiskSpec("raw", DiskKind.RAW), DiskSpec("bare")),
    )
    vm = target.start(Topology(disks=disks))
    same(vm.save("a", ["disk0", "disk1"]), None)
    differs(vm.load(tag, devices), None)
    same(vm.status(), "restore-vm")
    vm.execute("cont")
    same(vm.status(), "running")


@experiment()
def failed_load_leaves_a_stopped_vm_as_it_was(target):
    """A VM that was paused before a failed load is paused after it."""
    vm = target.start(two_disks())
    vm.execute("stop")
    differs(vm.load("nothing", ["disk0"]), None)
    same(vm.status(), "paused")


if __name__ == "__main__":
    run_by_hand(globals())
