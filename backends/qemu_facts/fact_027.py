"""Fact 27: grouped completion refuses internal snapshots."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.vm import action_list, internal


@experiment()
def grouped_completion_is_for_backups_only(target):
    """`completion-mode: grouped` refuses internal snapshots."""
    vm = target.start(two_disks())
    words = vm.refusal(
        "transaction",
        actions=action_list([internal("disk0", "a")]),
        properties={"completion-mode": "grouped"},
    )
    found("completion-mode", words)
    found("grouped", words)
    same(vm.tags("disk0"), [])


if __name__ == "__main__":
    run_by_hand(globals())
