"""Fact 20: a failed load leaves disks of two instants."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.guest import failures, heartbeats
from backends.qemu_facts.lab.outcome import defect, differs, same
from backends.qemu_facts.lab.topology import two_disks

ENOUGH = 8


@experiment()
def failed_load_leaves_disks_of_two_instants(qemu):
    """A bitmap on disk1 fails the load when disk0 is reverted already, and `cont` is accepted."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    same(vm.save("a", ["disk0", "disk1"]), None)
    vm.wait_guest(4)
    vm.execute("stop")
    vm.execute("block-dirty-bitmap-add", node="disk1", name="bitmap", persistent=True)
    loaded_at = len(vm.console())
    differs(vm.load("a", ["disk0", "disk1"]), None)
    vm.execute("cont")

    def complaints():
        return failures(vm.console()[loaded_at:].rpartition("\n")[0])

    def judged():
        return complaints() or len(heartbeats(vm.console()[loaded_at:])) >= ENOUGH

    vm.wait_until(judged, "a complaint of the guest, or its heartbeats", timeout_s=60)
    defect([each[:9] for each in complaints()[:1]], known=["FAIL d80 "], right=[])


if __name__ == "__main__":
    run_by_hand(globals())
