"""Fact 140: a snapshot whose deletion failed is in the image, and shown no more."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import found, same
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology

EVERY_WRITE_FAILS = {"event": "none", "iotype": "write", "errno": 5}


def topology(kind, *rules):
    return Topology((DiskSpec("disk0", kind, inject_error=rules),), paused=True)


@experiment()
@cases("command", ["snapshot-delete", "blockdev-snapshot-delete-internal-sync"])
def it_is_hidden_until_the_image_is_opened_anew(qemu, command):
    """The image's list could not be written; QEMU had taken the snapshot off its own."""
    vm = qemu.start(topology(DiskKind.QCOW2))
    same(vm.save("a", ["disk0"]), None)
    vm.end()
    vm = qemu.run(vm, topology(DiskKind.FAULTY, EVERY_WRITE_FAILS))
    same(vm.tags("disk0"), ["a"])
    if command == "snapshot-delete":
        words = vm.delete("a", ["disk0"])
    else:
        words = vm.refusal(command, device="disk0", name="a")
    found("Failed to remove snapshot from snapshot list: Input/output error", words)
    same(vm.tags("disk0"), [])
    same(vm.delete("a", ["disk0"]), None)
    vm.end()
    same(vm.image_tags("disk0"), ["a"])


if __name__ == "__main__":
    run_by_hand(globals())
