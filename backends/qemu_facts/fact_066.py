"""Fact 66: machine state in an encrypted image ends QEMU."""

import signal

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import defect, found, same
from backends.qemu_facts.lab.outside import (
    encrypted_disk,
)
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def machine_state_in_an_encrypted_image_ends_qemu(qemu):
    """Its assertion about aligned lengths fails, whatever the guest does."""
    with encrypted_disk() as arguments:
        vm = qemu.start(two_disks(extra_args=arguments))
        death = vm.death_in(lambda: vm.save("a", ["secret0", "disk0"]))
        defect(death, known=-signal.SIGABRT, right=None)
        found("qcow2_co_encdec: Assertion", vm.stderr())


@experiment()
def an_encrypted_image_holds_a_part(qemu):
    """Without machine state it is saved and loaded like any other."""
    with encrypted_disk() as arguments:
        vm = qemu.start(two_disks(extra_args=arguments))
        nodes = vm.execute("query-named-block-nodes", flat=True)
        same(next(n for n in nodes if n["node-name"] == "secret0")["encrypted"], True)
        same(vm.save("a", ["disk0", "secret0"]), None)
        same(vm.load("a", ["disk0", "secret0"]), None)


@experiment()
def a_qcow2_image_in_a_luks_container_holds_machine_state(qemu):
    """There the encryption is below, and nothing has to be aligned."""
    with encrypted_disk(container=True) as arguments:
        vm = qemu.start(two_disks(extra_args=arguments))
        nodes = vm.execute("query-named-block-nodes", flat=True)
        same(next(n for n in nodes if n["node-name"] == "secret0")["encrypted"], False)
        same(vm.save("a", ["secret0", "disk0"]), None)
        same(vm.load("a", ["secret0", "disk0"]), None)


if __name__ == "__main__":
    run_by_hand(globals())
