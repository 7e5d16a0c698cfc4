"""A guest that does what KVM cannot do: it runs on into the memory of the graphics card."""

import atexit
import functools
import os
import tempfile
from pathlib import Path

from backends.qemu_facts.lab.outcome import NotRun
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology

__all__ = ["internal_error_guest", "wait_internal_error"]

_JUMP = bytes.fromhex("ea000000a0")
"""`jmp 0xa000:0`"""


def internal_error_guest(*more: str) -> Topology:
    """A VM under KVM whose boot sector ends it in ``internal-error``, with an empty disk beside."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise NotRun("needs KVM, which alone comes to such an end")
    boot = DiskSpec("raw0", DiskKind.RAW, content=str(_boot_sector()))
    return Topology(
        (boot, DiskSpec("disk0")), accelerator="kvm", extra_args=("-device", "VGA", *more)
    )


def wait_internal_error(vm) -> None:
    """Wait until it has come to that; where KVM itself is virtual, its firmware takes its time."""
    vm.wait_until(lambda: vm.status() == "internal-error", "the guest's end", timeout_s=120)


@functools.cache
def _boot_sector() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="sp-")
    atexit.register(folder.cleanup)
    made = Path(folder.name, "boot")
    made.write_bytes(_JUMP.ljust(510, b"\0") + b"\x55\xaa")
    return made
