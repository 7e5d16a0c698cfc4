"""Fact 41: what a cancelled background capture leaves."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    migrate_to,
    migrated_pages,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import raises
from backends.qemu_facts.lab.qmp import QmpTimeout
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.writer import start_writer, wait_written, written_mib
from backends.qemu_facts.steps.background import migrate_stalled, release

SLOW_STREAM = {"max-bandwidth": 2**14}


WRITTEN_MIB = 32


@experiment(before=(10, 0))
def qemu_7_resumes_the_guest_by_itself(qemu):
    """A guest stopped before the capture runs again without a `cont`: no time for the disks."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    set_capabilities(vm, "background-snapshot")
    vm.execute("stop")
    mark = migrate_to(vm, vm.directory / "state")
    vm.wait_event("RESUME", since=mark)


@experiment(before=(10, 0))
def cancelled_capture_freezes_the_guest_of_qemu_7():
    """After a cancelled run memory stays write-protected: the VM is running, the guest is not.

    The guest rewrites more memory than is saved before the cancel: it does meet a protected page.  It
    is slow, since what it writes to between RESUME and `stop` is saved first, and free again.
    It stands during the cancel.  A processor that met such a page just then could hold QEMU's lock for
    ever, and QEMU would not say anything any more; so the console alone is asked afterwards.
    """
    with start_writer(WRITTEN_MIB, mib_per_s=40) as vm:
        set_capabilities(vm, "background-snapshot")
        vm.execute("migrate-set-parameters", SLOW_STREAM)
        mark = migrate_to(vm, vm.directory / "state")
        vm.wait_event("RESUME", since=mark)
        vm.execute("stop")
        cancel_once_written(vm, mark)
        goes_on = written_mib(vm.console()) + WRITTEN_MIB
        mark = vm.qmp.mark()
        vm.qmp.send("cont")
        vm.wait_event("RESUME", since=mark)
        with raises(QmpTimeout):
            wait_written(vm, goes_on, timeout_s=3)
        vm.process.kill()  # its processor is stuck in a page fault: it does not end in good order


@experiment(since=(10, 0))
def cancelled_capture_ends_cleanly(qemu):
    """From 10 on a cancelled run leaves a guest that goes on."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    set_capabilities(vm, "background-snapshot")
    vm.execute("stop")
    mark = migrate_stalled(vm)
    cancel_once_written(vm, mark)
    cancelled_at = len(vm.console())
    vm.execute("cont")
    vm.wait_guest(3, since=cancelled_at)


def cancel_once_written(vm, mark):
    """Cancel a capture while memory is being written."""
    vm.wait_until(lambda: migrated_pages(vm) > 0, "memory is being written")
    vm.execute("migrate_cancel")
    if (vm.directory / "go").exists():
        release(vm)
    wait_migration(vm, "cancelled", since=mark)


if __name__ == "__main__":
    run_by_hand(globals())
