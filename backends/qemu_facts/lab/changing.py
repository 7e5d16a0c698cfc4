"""The guest that changes its own code: `changing.asm`; its head tells what it says."""

from pathlib import Path

from backends.qemu_facts.lab.assembled import assembled
from backends.qemu_facts.lab.qemu import QemuVm
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology

__all__ = ["BOOT", "changing_guest", "wait_letter"]

BOOT = "boot0"
"""The raw disk that it starts from, and does not use afterwards."""


def changing_guest(directory: Path) -> Topology:
    """A VM with this guest under TCG, which translates its code, and `disk0` for snapshots."""
    sector = directory / "changing"
    sector.write_bytes(assembled("changing"))
    disks = (DiskSpec(BOOT, DiskKind.RAW, content=str(sector)), DiskSpec("disk0"))
    return Topology(disks, accelerator="tcg")


def wait_letter(vm: QemuVm, since: int = 0, other_than: str = "") -> str:
    """Wait until it has said something since an offset of the console, and last this; the letter.

    Fails at once if the processor ran other code than is in memory.
    """

    def last() -> str:
        said = vm.console()[since:]
        if "FAIL" in vm.console():
            raise AssertionError("the processor ran other code than is in memory")
        return said[-1:].replace(other_than, "") if other_than else said[-1:]

    vm.wait_until(last, "a letter of the guest")
    return vm.console()[-1]
