"""Fact 68: requests of a guest that failed, and a load."""

from functools import partial

from backends.qemu_facts.lab import guest
from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.ended import (
    fail_request,
    let_files_grow,
    with_failing_storage,
)
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.steps.ended import assert_runs_on, load


def failed(qemu, device):
    """A VM with a snapshot, whose guest was stopped since a write found no room."""
    vm = qemu.start(with_failing_storage(device))
    vm.wait_guest(1)
    fail_request(vm, "a")
    return vm


@experiment()
@cases("device", ["virtio-blk-pci", "scsi-hd"])
def these_devices_forget_the_request(qemu, device):
    """The load is right, QEMU goes on to call it an error, and nothing but `cont` is needed."""
    vm = failed(qemu, device)
    statuses = [block["io-status"] for block in vm.execute("query-block")]
    same(sorted(statuses), ["failed", "ok"])
    let_files_grow(vm)
    load(vm)
    same(vm.status(), "io-error")
    assert_runs_on(vm)


@experiment()
def a_reset_drops_the_request_too(qemu):
    """It leaves `prelaunch`, from where the load is right."""
    vm = failed(qemu, "virtio-blk-pci")
    vm.execute("system_reset")
    vm.wait_until(lambda: vm.status() == "prelaunch", "the reset")
    let_files_grow(vm)
    load(vm)
    assert_runs_on(vm)


@experiment(slow=True)
def ide_sends_the_request_again(qemu):
    """Into the guest that was loaded, which at some time has one of its own under way: it breaks."""
    vm = failed(qemu, "ide-hd")
    for _ in range(20):
        let_files_grow(vm)
        load(vm)
        since = len(vm.console())
        vm.execute("cont")
        vm.wait_until(partial(says_something, vm, since), "two heartbeats, or an error")
        if guest.failures(vm.console()):
            break
        vm.wait_guest(2, since=since)
        fail_request(vm, f"b{vm.new_job_id()}")
    holds(guest.failures(vm.console()), "the guest that was loaded broke, in 20 tries")


def says_something(vm, since):
    text = vm.console()[since:]
    return guest.failures(text.rpartition("\n")[0]) or len(guest.heartbeats(text)) >= 2


if __name__ == "__main__":
    run_by_hand(globals())
