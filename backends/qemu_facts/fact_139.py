"""Fact 139: libvirt gives the number of an image once in a QEMU."""

from pathlib import Path

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, missing, same
from backends.qemu_facts.steps.domains import (
    commit,
    domain,  # noqa: F401 - a resource
    numbers,
    numbers_at_start,
    snapshot,
)


@experiment()
def a_disk_that_is_attached_anew_has_another_number(domain):
    """Also on the same image; after a block commit the image under the overlay has its old one."""
    # On scsi the guest is not asked before a disk goes.
    other = domain.daemon.domain("anew", bus="scsi")
    image, line = str(other.disks[1]), Path(f"/proc/{other.pid}/cmdline").read_text()
    number = numbers(other)[image]
    same(numbers_at_start(line)[image], number)
    overlay = other.overlay(other.daemon.folder / "anew-overlay.qcow2", 1)
    snapshot(other, "sdb", overlay)
    missing(numbers(other)[str(overlay)], (None, number))
    commit(other, "sdb")
    same(numbers(other)[image], number)
    other.daemon.virsh("detach-disk", "anew", "sdb")
    how = ("--targetbus", "scsi", "--subdriver", "qcow2")
    other.daemon.virsh("attach-disk", "anew", image, "sdb", *how)
    missing(numbers(other)[image], (None, number))
    holds(other.state.startswith("running"))


if __name__ == "__main__":
    run_by_hand(globals())
