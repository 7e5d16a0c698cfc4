"""Fact 62: which other machines a load accepts."""

import dataclasses

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, holds, same
from backends.qemu_facts.lab.qemu import run_qemu
from backends.qemu_facts.lab.topology import DiskSpec, Topology

NIC = ("-device", "e1000,id=nic,addr=6")


TWO = ("-smp", "2")


def saved(qemu):
    """A VM with a NIC and two processors that held a snapshot when it ended."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"),), extra_args=(*NIC, *TWO)))
    same(vm.save("a", ["disk0"]), None)
    vm.end()
    return vm


def loaded_by(vm, *arguments):
    """The error of a load by a QEMU that has these arguments; None: it is loaded."""
    topology = dataclasses.replace(vm.topology, extra_args=arguments, paused=True)
    with run_qemu(topology, vm.directory) as fresh:
        return fresh.load("a", ["disk0"]), fresh.stderr()


@experiment()
def what_is_missing_ends_a_load(qemu):
    """A device, a processor: the load fails, when the disk is reverted already."""
    vm = saved(qemu)
    for arguments in (TWO, (*NIC, "-smp", "1")):
        error, said = loaded_by(vm, *arguments)
        differs(error, None)
        holds("while loading" in error or "Unknown section" in error + said)


@experiment()
def what_is_more_or_only_another_model_is_taken(qemu):
    """A device more, and another model of processor: loaded without a word."""
    vm = saved(qemu)
    same(loaded_by(vm, *NIC, *TWO, "-device", "virtio-rng-pci,addr=9")[0], None)
    same(loaded_by(vm, *NIC, *TWO, "-cpu", "Nehalem")[0], None)


if __name__ == "__main__":
    run_by_hand(globals())
