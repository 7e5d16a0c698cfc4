"""Fact 113: a backup that cannot be written fails the guest's write."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, missing, same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.copies import add_target, concluded, copying

ENOSPC = {"event": "write_aio", "errno": 28, "once": False, "immediately": True}


@experiment()
def a_copy_that_cannot_be_written_fails_the_guests_write(qemu):
    """The disk's own policy decides then: with `enospc`, the default, the guest is stopped."""
    vm = qemu.start(two_disks(guest=True))
    add_target(vm, [ENOSPC])
    mark = copying(vm)
    vm.execute("cont")
    vm.wait_event("BLOCK_IO_ERROR", lambda data: data["nospace"], since=mark, timeout_s=60)
    same(concluded(vm, mark)["error"], "No space left on device")
    same(vm.status(), "io-error")
    at = len(vm.console())
    vm.execute("cont")  # the copy is over: the write is done again, and reaches the disk
    vm.wait_guest(2, since=at)


@experiment(since=(11, 0))
def on_cbw_error_fails_the_copy_alone(qemu):
    """`break-snapshot` lets the guest's write through."""
    vm = qemu.start(two_disks(guest=True))
    add_target(vm, [ENOSPC])
    mark = copying(vm, on_cbw_error="break-snapshot")
    at = len(vm.console())
    vm.execute("cont")
    found("error", concluded(vm, mark))
    vm.wait_guest(2, since=at)
    missing("BLOCK_IO_ERROR", {event["event"] for event in vm.events[mark:]})


if __name__ == "__main__":
    run_by_hand(globals())
