"""The guest that checks itself: assembling it, and reading what it said.

The guest is `guest.bin`, assembled from `guest.asm`, whose head tells what it checks and what it prints.
What it says after a snapshot was loaded is judged from an offset of the console's text on, because
the console, unlike the guest, does not go back in time.
"""

import functools
import re
from collections.abc import Sequence

from backends.qemu_facts.lab.assembled import assembled

__all__ = ["HEARTBEAT_ROUNDS", "boot_sector", "failures", "heartbeats", "last_counter"]

HEARTBEAT_ROUNDS = 16  # the guest prints its counter each so many rounds
DRIVES_OFFSET = 493
MAX_DRIVES = 16  # what SeaBIOS numbers, from 0x80 on


@functools.cache
def _assembled() -> bytes:
    return assembled("guest")


def boot_sector(drives: Sequence[int]) -> bytes:
    """The 512 bytes of a guest that checks the BIOS drives of these numbers (0 is the first)."""
    if not 1 <= len(drives) <= MAX_DRIVES:
        raise ValueError(f"the guest checks 1 to {MAX_DRIVES} drives, not {len(drives)}")
    sector = bytearray(_assembled())
    table = bytes(0x80 + drive for drive in drives)
    sector[DRIVES_OFFSET : DRIVES_OFFSET + len(table)] = table
    return bytes(sector)


def last_counter(disk: bytes) -> int:
    """The counter that the guest wrote last to a disk: the higher one of its two sectors."""
    sectors = (2048, 2048 + 128)
    return max(int.from_bytes(disk[512 * at : 512 * at + 4], "little") for at in sectors)


def heartbeats(console: str) -> list[int]:
    """The counters that the guest printed, in order; a line cut by a load does not count."""
    return [int(line, 16) for line in re.findall(r"^([0-9a-f]{8})$", console, re.MULTILINE)]


def failures(console: str) -> list[str]:
    """What the guest complained about."""
    return re.findall(r"(?:FAIL|ERROR) .*", console)
