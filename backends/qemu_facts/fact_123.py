"""Fact 123: a daemon's transaction takes snapshots and overlays together; an export follows its disk."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.steps.daemons import (
    daemon,  # noqa: F401 - a resource
    internal,
    refusal,
)

SWITCH = {"type": "blockdev-snapshot", "data": {"node": "data", "overlay": "over"}}


@experiment()
def all_or_nothing_onto_the_overlay_and_back(daemon):
    """A snapshot that is there already leaves nothing of the transaction; a commit leads back."""
    qmp = daemon.qmp
    qmp.execute("blockdev-snapshot-internal-sync", device="disk1", name="b")
    daemon.add_overlay("over")
    both = [internal("disk0", "b"), SWITCH, internal("disk1", "b")]
    words = "Snapshot with name 'b' already exists on device 'disk1'"
    same(refusal(daemon, "transaction", {"actions": both})[1], words)
    same((daemon.snapshots()["disk0"], daemon.exported()["data-export"]), ({}, "data"))
    qmp.execute("transaction", actions=[internal("disk0", "a"), internal("disk1", "a"), SWITCH])
    same(daemon.exported()["data-export"], "over")
    daemon.commit("over", base="data")
    same(daemon.exported()["data-export"], "data")


if __name__ == "__main__":
    run_by_hand(globals())
