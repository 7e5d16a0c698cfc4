"""Fact 24: what a transaction holds, and how it fails."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, holds, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks
from backends.qemu_facts.lab.vm import internal

IN_EVERY_VERSION = {
    "abort",
    *(f"block-dirty-bitmap-{verb}" for verb in ("add", "remove", "clear", "enable", "disable")),
    "block-dirty-bitmap-merge",
    *("blockdev-backup", "drive-backup"),
    *("blockdev-snapshot", "blockdev-snapshot-internal-sync", "blockdev-snapshot-sync"),
}


def members(schema, name):
    """The members of an object that query-qmp-schema names, by their names."""
    return {member["name"]: member["type"] for member in schema[name]["members"]}


def action_types(vm):
    """What a transaction can hold, by what this QEMU says of itself."""
    schema = {entity["name"]: entity for entity in vm.execute("query-qmp-schema")}
    actions = members(schema, schema["transaction"]["arg-type"])["actions"]
    element = schema[schema[actions]["element-type"]]
    enumeration = next(m["type"] for m in element["members"] if m["name"] == element["tag"])
    return set(schema[enumeration]["values"])


@experiment()
def what_a_transaction_can_hold(target):
    """The same actions in every version: no machine state, no stop, no cont, no migrate."""
    same(action_types(target.start(two_disks())), IN_EVERY_VERSION)


@experiment()
def first_action_that_fails_is_the_one_reported(target):
    """Actions are prepared in order: the error is that of the first that cannot be done."""
    vm = target.start(two_disks(DiskKind.RAW))
    first = vm.refused_transaction(internal("nowhere", "a"), internal("disk1", "a"))
    found("nowhere", first)
    second = vm.refused_transaction(internal("disk1", "a"), internal("nowhere", "a"))
    found("disk1", second)


@experiment()
def failing_action_undoes_those_before_it(target):
    """Nothing that was prepared is left when a later action fails."""
    vm = target.start(two_disks())
    words = vm.refused_transaction(internal("disk0", "a"), internal("disk1", "a"), ("abort", {}))
    same(words, "Transaction aborted using Abort action")
    holds(vm.tags("disk0") == vm.tags("disk1") == [])


@experiment()
def transaction_is_one_cut_across_its_disks(qemu):
    """Disks captured while the guest writes are of one instant: no disk is ahead of another."""
    vm = qemu.start(two_disks(DiskKind.QCOW2, DiskKind.QCOW2, guest=True))
    vm.wait_guest(1)
    for number in range(8):
        vm.snapshot_disks(f"cut{number}", "disk0", "disk1", "disk2")
    same(vm.status(), "running")
    vm.end()
    for number in range(8):
        counters = [vm.counter_in_image(disk, f"cut{number}") for disk in ("disk0", "disk1")]
        counters.append(vm.counter_in_image("disk2", f"cut{number}"))
        holds(counters == sorted(counters, reverse=True), "the guest writes in this order")
        holds(counters[0] - counters[-1] <= 1)


if __name__ == "__main__":
    run_by_hand(globals())
