"""A guest that does what KVM cannot do: it runs on into the memory of the graphics card."""

import atexit
import functools
import subprocess
import tempfile
from pathlib import Path

from tests.support.topology import DiskKind, DiskSpec, Topology

__all__ = ["internal_error_guest", "wait_internal_error"]

_SOURCE = """
bits 16
org 0x7c00
jmp 0xa000:0
times 510-($-$$) db 0
dw 0xaa55
"""


def internal_error_guest(*more: str) -> Topology:
    """A VM under KVM whose boot sector ends it in ``internal-error``, with an empty disk beside."""
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
    source, made = Path(folder.name, "boot.asm"), Path(folder.name, "boot")
    source.write_text(_SOURCE)
    subprocess.run(["nasm", "-f", "bin", "-o", str(made), str(source)], check=True)
    return made
