"""Fact 37: the bandwidth of a migration is limited."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def bandwidth_is_limited_by_default_and_can_be_put_back(target):
    """max-bandwidth is 128 MiB/s unless set, and what was set is what is asked back."""
    vm = target.start(two_disks())
    before = vm.execute("query-migrate-parameters")["max-bandwidth"]
    same(before, 128 * 2**20)
    vm.execute("migrate-set-parameters", {"max-bandwidth": 2**40})
    same(vm.execute("query-migrate-parameters")["max-bandwidth"], 2**40)
    vm.execute("migrate-set-parameters", {"max-bandwidth": before})
    same(vm.execute("query-migrate-parameters")["max-bandwidth"], before)


if __name__ == "__main__":
    run_by_hand(globals())
