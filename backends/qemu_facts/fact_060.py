"""Fact 60: a background capture beside a vhost-user disk is not refused."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, holds
from backends.qemu_facts.lab.outside import (
    SHARED_MEMORY,
    vhost_user_disk,
)
from backends.qemu_facts.lab.topology import two_disks


@experiment(since=(10, 0))
def background_is_not_refused_beside_a_vhost_user_disk(qemu):
    """The process behind it writes to memory that is being saved, and QEMU does not mind."""
    with vhost_user_disk() as arguments:
        vm = qemu.start(two_disks(extra_args=(*SHARED_MEMORY, *arguments)))
        vm.execute(
            "migrate-set-capabilities",
            capabilities=[{"capability": "background-snapshot", "state": True}],
        )
        states = vm.execute("query-migrate-capabilities")
        found({"capability": "background-snapshot", "state": True}, states)
        holds(not vm.execute("query-migrate").get("blocked-reasons"))


if __name__ == "__main__":
    run_by_hand(globals())
