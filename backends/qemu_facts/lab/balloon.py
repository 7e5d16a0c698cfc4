"""A guest's balloon driver, driven from outside through QEMU's qtest socket.

No guest of the tests has a driver for virtio-balloon, and none is needed: its registers and its queue
can be written while the guest stands.
"""

import contextlib
import socket
import struct
from pathlib import Path

from backends.qemu_facts.lab.outcome import holds
from backends.qemu_facts.lab.qemu import QemuVm

__all__ = ["BALLOON", "inflate", "qtest_words"]

BALLOON = ("-device", "virtio-balloon-pci,id=balloon0")
_BASE = 32 << 20
"""Where in the guest's memory its queue and its list lie: nobody else uses it."""
_LIST = _BASE + (1 << 20)
_CONFIG_ADDRESS, _CONFIG_DATA, _COMMAND, _MAY_DO_IO_AND_DMA = 0xCF8, 0xCFC, 4, 5
_FEATURES, _QUEUE_PAGE, _QUEUE_SIZE, _QUEUE, _NOTIFY, _STATUS = 4, 8, 12, 14, 16, 18
_DRIVER_OK = 7


def qtest_words(socket_path: Path) -> tuple[str, ...]:
    """The words with which QEMU listens for `inflate`."""
    return "-qtest", f"unix:{socket_path},server=on,wait=off", "-qtest-log", "none"


def inflate(vm: QemuVm, socket_path: Path, address: int) -> None:
    """Give one page of the guest's memory to the balloon, as a guest's driver does."""
    (device,) = [
        device
        for bus in vm.execute("query-pci")
        for device in bus["devices"]
        if device["qdev_id"] == "balloon0"
    ]
    port = next(region["address"] for region in device["regions"] if region["type"] == "io")
    descriptor = struct.pack("<QIHH", _LIST, 4, 0, 0)
    available = struct.pack("<HHH", 0, 1, 0)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as channel:
        channel.settimeout(10)
        channel.connect(str(socket_path))

        def do(words: str) -> str:
            channel.sendall(f"{words}\n".encode())
            answer = channel.recv(4096).decode()
            holds(answer.startswith("OK"), f"{words}: {answer}")
            return answer.removeprefix("OK").strip()

        def write(at: int, content: bytes) -> None:
            do(f"write {at:#x} {len(content):#x} 0x{content.hex()}")

        do(f"outl {_CONFIG_ADDRESS:#x} {1 << 31 | device['slot'] << 11 | _COMMAND:#x}")
        do(f"outw {_CONFIG_DATA:#x} {_MAY_DO_IO_AND_DMA:#x}")
        do(f"outb {port + _STATUS:#x} 0")
        do(f"outl {port + _FEATURES:#x} 0")
        do(f"outw {port + _QUEUE:#x} 0")
        entries = int(do(f"inw {port + _QUEUE_SIZE:#x}"), 16)
        do(f"memset {_BASE:#x} {_LIST - _BASE:#x} 0x0")
        write(_BASE, descriptor)
        write(_BASE + 16 * entries, available)
        write(_LIST, struct.pack("<I", address >> 12))
        do(f"outl {port + _QUEUE_PAGE:#x} {_BASE >> 12:#x}")
        do(f"outb {port + _STATUS:#x} {_DRIVER_OK:#x}")
        do(f"outw {port + _NOTIFY:#x} 0")
