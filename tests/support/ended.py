"""Guests that have shut down, crashed or gone to sleep, made so through their own ports."""

import attrs

from tests.support.topology import Topology

__all__ = ["ENDS", "end_guest", "that_can_end"]

ENDS = {
    "shutdown": "o /h 0x604 0x2000",
    "guest-panicked": "o /b 0x505 1",
    "suspended": "o /h 0x604 0x2400",
}
"""By run state, what a guest would write to ACPI's register, or to pvpanic."""


def that_can_end(topology: Topology) -> Topology:
    """The VM, whose QEMU stays when its guest has ended."""
    more = ("-no-shutdown", "-action", "panic=pause", "-device", "pvpanic")
    return attrs.evolve(topology, extra_args=(*topology.extra_args, *more))


def end_guest(vm, run_state: str) -> None:
    """Bring a guest that has booted to this end."""
    vm.execute("human-monitor-command", {"command-line": ENDS[run_state]})
    vm.wait_until(lambda: vm.status() == run_state, run_state)
