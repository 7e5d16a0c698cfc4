"""Fact 122: a daemon's vm-clock is the host's wall clock."""

import time

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.steps.daemons import (
    daemon,  # noqa: F401 - a resource
    internal,
)


@experiment()
def it_moves_on_within_a_transaction(daemon):
    """So it tells nothing of one instant."""
    before_ns = time.time_ns()
    daemon.qmp.execute("transaction", actions=[internal("disk0", "a"), internal("disk1", "a")])
    after_ns = time.time_ns()
    held = daemon.snapshots()
    clocks = [held[disk]["a"] for disk in ("disk0", "disk1")]
    same([before_ns <= clock <= after_ns for clock in clocks], [True, True])
    holds(clocks[0] != clocks[1], "the two clocks differ")


if __name__ == "__main__":
    run_by_hand(globals())
