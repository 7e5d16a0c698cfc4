"""Fact 62: what of another machine ends a load, and what QEMU takes without a word."""

import attrs

from tests.support.qemu import run_qemu
from tests.support.topology import DiskSpec, Topology

NIC = ("-device", "e1000,id=nic,addr=6")
TWO = ("-smp", "2")


def saved(qemu):
    """A VM with a NIC and two processors that held a snapshot when it ended."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"),), extra_args=(*NIC, *TWO)))
    assert vm.save("a", ["disk0"]) is None
    vm.end()
    return vm


def loaded_by(vm, *arguments):
    """The error of a load by a QEMU that has these arguments; None: it is loaded."""
    topology = attrs.evolve(vm.topology, extra_args=arguments, paused=True)
    with run_qemu(topology, vm.directory) as fresh:
        return fresh.load("a", ["disk0"]), fresh.stderr()


def test_fact_62_what_is_missing_ends_a_load(qemu):
    """A device, a processor: the load fails, when the disk is reverted already."""
    vm = saved(qemu)
    for arguments in (TWO, (*NIC, "-smp", "1")):
        error, said = loaded_by(vm, *arguments)
        assert error is not None
        assert "while loading" in error or "Unknown section" in error + said


def test_fact_62_what_is_more_or_only_another_model_is_taken(qemu):
    """A device more, and another model of processor: loaded without a word."""
    vm = saved(qemu)
    assert loaded_by(vm, *NIC, *TWO, "-device", "virtio-rng-pci,addr=9")[0] is None
    assert loaded_by(vm, *NIC, *TWO, "-cpu", "Nehalem")[0] is None
