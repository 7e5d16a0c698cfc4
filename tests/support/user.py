"""A QEMU that gives up being root once it has opened its images, as distributions run it."""

import os

import attrs

from tests.support.qemu import QemuTarget, QemuVm, qemu_version
from tests.support.topology import Topology

__all__ = ["NOBODY", "as_nobody"]

NOBODY = 65534


def as_nobody(qemu: QemuTarget, topology: Topology) -> QemuVm:
    """Start a VM, as root, whose QEMU runs as nobody; its images and their folder are nobody's.

    The folder may be entered by all.  10.0 knows only the newer option, 7.2 only the older one.
    """
    newer = qemu_version() >= (10, 0)
    user = ("-run-with", "user=nobody") if newer else ("-runas", "nobody")
    vm = qemu.start(attrs.evolve(topology, extra_args=(*topology.extra_args, *user)))
    for path in (vm.directory, *vm.directory.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    vm.directory.chmod(0o755)
    return vm
