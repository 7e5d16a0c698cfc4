"""Fact 63: which memory a background capture can track."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import raises
from backends.qemu_facts.lab.outside import (
    memory_in,
    open_to_nobody,
)
from backends.qemu_facts.lab.qmp import QmpError
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.user import needs_root

BACKGROUND = [{"capability": "background-snapshot", "state": True}]


@experiment(since=(10, 0))
@cases("place", ["memfd", "shm", "disk"])
def memory_that_is_mapped_from_a_disk_cannot_be_tracked(qemu, place):
    """A file on a disk is refused as soon as the capability is set; memory and tmpfs are not."""
    with memory_in(place) as (arguments, filesystem):
        vm = qemu.start(two_disks(extra_args=arguments))
        if filesystem in ("memfd", "tmpfs"):
            vm.execute("migrate-set-capabilities", capabilities=BACKGROUND)
            return
        with raises(QmpError, match="not compatible with guest memory configuration"):
            vm.execute("migrate-set-capabilities", capabilities=BACKGROUND)


@experiment(since=(10, 0))
def who_may_not_use_userfaultfd_captures_nothing(qemu):
    """QEMU calls that the host's kernel."""
    needs_root()
    vm = qemu.start(two_disks(extra_args=("-run-with", "user=nobody")))
    if open_to_nobody():
        vm.execute("migrate-set-capabilities", capabilities=BACKGROUND)
        return
    with raises(QmpError, match="not supported by host kernel"):
        vm.execute("migrate-set-capabilities", capabilities=BACKGROUND)


if __name__ == "__main__":
    run_by_hand(globals())
