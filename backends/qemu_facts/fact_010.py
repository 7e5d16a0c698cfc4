"""Fact 10: an external data file is noticed after the guest was stopped."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, found, missing, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks


@experiment()
def data_file_is_noticed_only_after_the_stop(target):
    """A disk with an external data file passes the check, and fails with the guest stopped."""
    vm = target.start(two_disks(DiskKind.DATA_FILE))
    mark = vm.qmp.mark()
    words = vm.save("a", ["disk0", "disk1"])
    differs(words, None)
    missing("does not support snapshots", words)
    told = [event["event"] for event in vm.events[mark:]]
    found("STOP", told)
    found("RESUME", told)
    same(vm.tags("disk0"), [])


if __name__ == "__main__":
    run_by_hand(globals())
