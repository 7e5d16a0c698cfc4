"""Fact 28: a mirror stops a transaction, and no save."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.vm import internal


@experiment()
def block_job_stops_a_transaction_but_no_save(target):
    """While a mirror runs on a node its internal snapshot is refused, and snapshot-save is not."""
    vm = target.start(two_disks())
    vm.add_node("copy", "raw")
    vm.execute("blockdev-mirror", job_id="mirror", device="disk1", target="copy", sync="full")
    vm.wait_event("BLOCK_JOB_READY", lambda data: data["device"] == "mirror")
    holds(vm.refused_transaction(internal("disk0", "a"), internal("disk1", "a")))
    same(vm.tags("disk0"), [])
    same(vm.save("a", ["disk0", "disk1"]), None)
    vm.execute("block-job-cancel", device="mirror", force=True)
    vm.wait_event("BLOCK_JOB_CANCELLED", lambda data: data["device"] == "mirror")
    vm.snapshot_disks("b", "disk0", "disk1")


if __name__ == "__main__":
    run_by_hand(globals())
