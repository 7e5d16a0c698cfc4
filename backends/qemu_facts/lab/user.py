"""A QEMU that gives up being root once it has opened its images, as distributions run it."""

import os
from dataclasses import replace
from pathlib import Path

from backends.qemu_facts.lab.outcome import NotRun
from backends.qemu_facts.lab.qemu import QemuTarget, QemuVm, qemu_version
from backends.qemu_facts.lab.topology import Topology

__all__ = ["NOBODY", "as_nobody", "belongs_to_nobody", "needs_root", "nobody_words"]

NOBODY = 65534


def needs_root() -> None:
    """Only root can give up its permissions.

    Raises:
        NotRun: Somebody else runs this.
    """
    if os.geteuid() != 0:
        raise NotRun("needs root, to run QEMU as nobody")


def nobody_words() -> tuple[str, str]:
    """QEMU's words to run as nobody: 10.0 knows only the newer option, 7.2 only the older one."""
    newer = qemu_version() >= (10, 0)
    return ("-run-with", "user=nobody") if newer else ("-runas", "nobody")


def belongs_to_nobody(directory: Path) -> None:
    """Give a folder and what is in it to nobody; all may enter it."""
    for path in (directory, *directory.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    directory.chmod(0o755)


def as_nobody(qemu: QemuTarget, topology: Topology) -> QemuVm:
    """Start a VM, as root, whose QEMU runs as nobody; its images and their folder are nobody's."""
    needs_root()
    words = (*topology.extra_args, *nobody_words())
    vm = qemu.start(replace(topology, extra_args=words))
    belongs_to_nobody(vm.directory)
    return vm
