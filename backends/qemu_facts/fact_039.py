"""Fact 39: a background capture is of the instant of its start."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.migration import (
    incoming_uri,
    migrated_pages,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.vm import internal, overlay
from backends.qemu_facts.steps.background import migrate_stalled, release


def resume_while_stalled(vm, *, since):
    """Continue the guest, see it resumed, and only then let the stream go (fact 54)."""
    cont = vm.qmp.send("cont")
    vm.wait_event("RESUME", since=since)
    release(vm)
    same(vm.qmp.reply_to(cont), {})


def capture(vm, *actions, transaction_first):
    """Save the machine state in the background and the disks beside it, the way fact 39 tells.

    The stream is stalled when this returns.
    """
    set_capabilities(vm, "background-snapshot")
    vm.execute("stop")
    if transaction_first:
        vm.transaction(*actions)
    mark = migrate_stalled(vm)
    vm.wait_until(lambda: migrated_pages(vm) > 0, "memory is being written")
    if not transaction_first:
        vm.transaction(*actions)
    return mark


def restored_guest(qemu, vm):
    """A fresh QEMU from the stream and the disks reverted to the tag `a`."""
    vm.end()
    for disk in vm.topology.disks:
        vm.revert_image(disk.name, "a")
    restored = qemu.run(vm, vm.topology, "-incoming", incoming_uri(vm, vm.directory / "state"))
    restored.wait_until(lambda: restored.status() in {"running", "paused"}, "the stream read")
    restored.execute("cont")
    return restored


@experiment(since=(10, 0))
@cases("transaction_first", [True, False], ["disks first", "memory first"])
def background_snapshot_is_of_its_start(qemu, transaction_first):
    """Stream and disks are of the instant of the stop though the guest went on: it agrees."""
    vm = qemu.start(two_disks(guest=True))
    last_seen = vm.wait_guest(1)[-1]
    actions = (internal("disk0", "a"), internal("disk1", "a"))
    mark = capture(vm, *actions, transaction_first=transaction_first)
    resumed_at = len(vm.console())
    resume_while_stalled(vm, since=mark)
    went_on = vm.wait_guest(1, since=resumed_at)
    wait_migration(vm, "completed", since=mark)
    same(vm.status(), "running")
    told = [event.get("data", {}).get("status") or event["event"] for event in vm.events[mark:]]
    holds(told.index("RESUME") < told.index("completed"), "it went on while memory was written")

    again = restored_guest(qemu, vm).wait_guest(3)
    holds(last_seen < again[0] <= went_on[0])


@experiment(since=(10, 0))
def stopped_vm_stays_stopped(qemu):
    """Without a `cont` the VM is paused when the stream is complete, with overlays attached."""
    vm = qemu.start(two_disks())
    vm.add_overlay("over")
    actions = (internal("disk0", "a"), overlay("disk1", "over"))
    mark = capture(vm, *actions, transaction_first=False)
    release(vm)
    wait_migration(vm, "completed", since=mark)
    same(vm.status(), "paused")
    same(vm.tags("disk0"), ["a"])
    same(vm.node_of("over"), "over")


if __name__ == "__main__":
    run_by_hand(globals())
