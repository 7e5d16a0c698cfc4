"""Guests that have shut down, crashed or gone to sleep, made so through their own ports."""

import resource
from dataclasses import replace

from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskSpec, Topology

__all__ = [
    "ENDS",
    "end_guest",
    "fail_request",
    "let_files_grow",
    "that_can_end",
    "with_failing_storage",
]

ENDS = {
    "shutdown": "o /h 0x604 0x2000",
    "guest-panicked": "o /b 0x505 1",
    "suspended": "o /h 0x604 0x2400",
}
"""By run state, what a guest would write to ACPI's register, or to pvpanic."""


def that_can_end(topology: Topology) -> Topology:
    """The VM, whose QEMU stays when its guest has ended."""
    more = ("-no-shutdown", "-action", "panic=pause", "-device", "pvpanic")
    return replace(topology, extra_args=(*topology.extra_args, *more))


def end_guest(vm, run_state: str) -> None:
    """Bring a guest that has booted to this end."""
    vm.execute("human-monitor-command", {"command-line": ENDS[run_state]})
    vm.wait_until(lambda: vm.status() == run_state, run_state)


def with_failing_storage(device: str = "virtio-blk-pci") -> Topology:
    """A VM of two disks, which QEMU stops where a request of its guest fails."""
    disks = tuple(DiskSpec(name, device=device, stops=True) for name in ("disk0", "disk1"))
    return Topology(disks, guest=True)


def fail_request(vm, tag: str = "") -> None:
    """Let the guest's next write find no room, until `let_files_grow`; then it is in ``io-error``.

    Its next write must need room, so a snapshot of all disks is taken first where a tag is given.
    """
    vm.execute("stop")
    if tag:
        same(vm.save(tag, ["disk0", "disk1"], "disk0"), None)
    _limit_files(vm, 300_000)
    vm.execute("cont")
    vm.wait_until(lambda: vm.status() == "io-error", "the failed request")


def let_files_grow(vm) -> None:
    """Mend the storage."""
    _limit_files(vm, resource.RLIM_INFINITY)


def _limit_files(vm, size_bytes: int) -> None:
    limits = (size_bytes, resource.RLIM_INFINITY)
    resource.prlimit(vm.process.pid, resource.RLIMIT_FSIZE, limits)
