"""A guest that talks over serial links: `talker.asm`; its head tells what it sends and counts."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from backends.qemu_facts.lab.assembled import assembled
from backends.qemu_facts.lab.experiment import new_folder
from backends.qemu_facts.lab.guest import heartbeats
from backends.qemu_facts.lab.qemu import QemuTarget, QemuVm
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology

__all__ = ["BOOT", "Counters", "counters", "receive", "start_talker", "wait_stuck"]

BOOT = "boot0"
"""The raw disk that a guest starts from, and does not use afterwards."""
_SENT = 0x8000
_DEADLINE_S = 60.0
_STEADY = 3


@dataclass(frozen=True)
class Counters:
    """How many bytes a guest has sent to the next one, and received from the one before."""

    sent: int
    received: int


def start_talker(qemu: QemuTarget, *ports: tuple[str, ...], paused: bool = False) -> QemuVm:
    """Start one guest that talks over these serial ports, in QEMU's words; `disk0` is for snapshots."""
    with new_folder() as folder:
        sector = folder / "talker"
        sector.write_bytes(assembled("talker"))
        disks = (DiskSpec(BOOT, DiskKind.RAW, content=str(sector)), DiskSpec("disk0"))
        words = tuple(word for port in ports for word in port)
        return qemu.start(Topology(disks, extra_args=words, paused=paused))


def counters(vm: QemuVm) -> Counters:
    """What a guest has counted; exact where it stands."""
    file = Path(vm.directory / "counters")
    vm.execute("pmemsave", val=_SENT, size=8, filename=str(file))
    content = file.read_bytes()
    file.unlink()
    sent, received = (int.from_bytes(content[at : at + 4], "little") for at in (0, 4))
    return Counters(sent, received)


def wait_stuck(vm: QemuVm) -> int:
    """Wait until its first port takes no more bytes; how many it has sent."""

    def stuck() -> bool:
        said = heartbeats(vm.console())[-_STEADY:]
        return len(said) == _STEADY and said[0] > 0 and len(set(said)) == 1

    vm.wait_until(stuck, "a full link")
    return counters(vm).sent


def receive(link: socket.socket, count: int) -> None:
    """Take so many bytes from a link; fails where they do not come."""
    link.settimeout(_DEADLINE_S)
    while count > 0:
        chunk = link.recv(count)
        if not chunk:
            raise AssertionError(f"the link was cut, and {count} bytes were missing")
        count -= len(chunk)
