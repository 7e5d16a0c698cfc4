"""Guests that talk over serial links: `talker.asm`; its head tells what they send and count.

They stand in a ring: the first serial port of each is linked to the second one of the next.
"""

from pathlib import Path

from backends.qemu_facts.lab.talker import (
    BOOT,
    Counters,
    counters,
    receive,
    start_talker,
    wait_stuck,
)
from tests.support.qemu import QemuTarget, QemuVm

__all__ = [
    "BOOT",
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

REQUEST = "tag: a\nmachine-state: {internal: disk0}\ndisks: {disk0: internal}\nothers: exclude\n"
"""Of each guest."""


def start_ring(qemu: QemuTarget, names: tuple[str, ...]) -> dict[str, QemuVm]:
    """Start a ring of guests that talk, and wait until each has heard another."""
    vms: dict[str, QemuVm] = {}
    for number, name in enumerate(names):
        vms[name] = start_talker(qemu, _port(vms, names, number, 1), _port(vms, names, number, 0))
    wait_heard(vms)
    return vms


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
