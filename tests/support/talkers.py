"""Guests that talk over serial links: `talker.asm`; its head tells what they send and count.

They stand in a ring: the first serial port of each is linked to the second one of the next.
"""

import socket
import subprocess
import tempfile
from pathlib import Path

import attrs

from tests.support.guest import heartbeats
from tests.support.qemu import QemuTarget, QemuVm
from tests.support.topology import DiskKind, DiskSpec, Topology

__all__ = [
    "REQUEST",
    "Counters",
    "counters",
    "group_of",
    "receive",
    "received_unsent",
    "start_ring",
    "start_talker",
    "wait_heard",
    "wait_stuck",
]

BOOT = "boot0"
"""The raw disk that a guest starts from, and does not use afterwards."""
REQUEST = "tag: a\nmachine-state: {internal: disk0}\ndisks: {disk0: internal}\nothers: exclude\n"
"""Of each guest."""
_SENT = 0x8000
_DEADLINE_S = 60.0


@attrs.frozen
class Counters:
    """How many bytes a guest has sent to the next one, and received from the one before."""

    sent: int
    received: int


def start_ring(qemu: QemuTarget, names: tuple[str, ...]) -> dict[str, QemuVm]:
    """Start a ring of guests that talk, and wait until each has heard another."""
    vms: dict[str, QemuVm] = {}
    for number, name in enumerate(names):
        vms[name] = start_talker(qemu, _port(vms, names, number, 1), _port(vms, names, number, 0))
    wait_heard(vms)
    return vms


def start_talker(qemu: QemuTarget, *ports: tuple[str, ...], paused: bool = False) -> QemuVm:
    """Start one guest that talks over these serial ports, in QEMU's words; `disk0` is for snapshots."""
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:
        sector = Path(folder, "talker")
        source = Path(__file__).with_name("talker.asm")
        subprocess.run(["nasm", "-f", "bin", "-o", str(sector), str(source)], check=True)
        disks = (DiskSpec(BOOT, DiskKind.RAW, content=str(sector)), DiskSpec("disk0"))
        words = tuple(word for port in ports for word in port)
        return qemu.start(Topology(disks, extra_args=words, paused=paused))


def _port(vms, names, number, side):
    """A serial port: the first (side 1) sends, the second (side 0) receives; the older end listens."""
    last = len(names) - 1
    listens = number < last if side else number == 0
    label = f"com{2 - side}"
    if listens:
        place = f"path={label},server=on,wait=off"
    elif side:
        place = f"path={vms[names[0]].directory / 'com2'},server=off"
    else:
        place = f"path={vms[names[number - 1]].directory / 'com1'},server=off"
    return "-chardev", f"socket,id={label},{place}", "-serial", f"chardev:{label}"


def counters(vm: QemuVm) -> Counters:
    """What a guest has counted; exact where it stands."""
    file = vm.directory / "counters"
    vm.execute("pmemsave", val=_SENT, size=8, filename=str(file))
    content = file.read_bytes()
    file.unlink()
    sent, received = (int.from_bytes(content[at : at + 4], "little") for at in (0, 4))
    return Counters(sent, received)


def received_unsent(found: list[Counters]) -> int:
    """How many bytes were received that nobody had sent, in a ring whose members counted so."""
    pairs = zip(found, [*found[1:], found[0]], strict=True)
    return sum(max(0, after.received - before.sent) for before, after in pairs)


def wait_heard(vms: dict[str, QemuVm], more: int = 100) -> None:
    """Wait until each guest has received so many bytes more: none of them is stuck."""
    for vm in vms.values():
        least = counters(vm).received + more
        vm.wait_until(lambda vm=vm, n=least: counters(vm).received >= n, f"{more} bytes received")


def group_of(folder: Path, vms: dict[str, QemuVm]) -> Path:
    """The file of a group of them."""
    (folder / "request.yaml").write_text(REQUEST)
    lines = [
        f"  {name}: {{vm: {vm.qmp_path}, request: request.yaml}}\n" for name, vm in vms.items()
    ]
    path = folder / "group.yaml"
    path.write_text(f"group: together\nmembers:\n{''.join(lines)}")
    return path


def wait_stuck(vm: QemuVm) -> int:
    """Wait until its first port takes no more bytes; how many it has sent."""

    def stuck() -> bool:
        said = heartbeats(vm.console())[-3:]
        return len(said) == 3 and said[0] > 0 and len(set(said)) == 1

    vm.wait_until(stuck, "a full link")
    return counters(vm).sent


def receive(link: socket.socket, count: int) -> None:
    """Take so many bytes from a link; fails where they do not come."""
    link.settimeout(_DEADLINE_S)
    while count > 0:
        chunk = link.recv(count)
        assert chunk, f"the link was cut, and {count} bytes were missing"
        count -= len(chunk)
