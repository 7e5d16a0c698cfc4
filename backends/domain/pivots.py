"""Whether an overlay left its disk by a pivot of libvirt's: proved by libvirt's own count of nodes.

libvirt numbers the images of a domain as it opens them, and never twice in one QEMU (fact 139).  The
command line of the QEMU shows the number that an image had at the start, the domain's description the
one that it has now.  Where both are the same, the image has been open all the time, and what lay over
it has left it by a block job, which writes down first what it held.  A disk that was detached and
attached again on the same image has another number.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

from backends.domain.address import DomainAddress
from backends.domain.bindings import bindings
from backends.domain.link import Link
from backends.domain.process import qemu_of_domain
from planner.errors import CannotConnect
from planner.host.processes import command_line
from planner.run.ports import CommandRefused, ConnectionLost, NoReply

__all__ = ["kept_since_start", "numbers_at_start"]

_OPTION = "-blockdev"


def kept_since_start(address: DomainAddress) -> Callable[[int, str], bool]:
    """What tells of a process and an image whether it is the domain's QEMU, with the image open since.

    Args:
        address: The domain; a connection of its own is made, since the one in use is busy waiting.
    """

    def kept(pid: int, image: str) -> bool:
        try:
            link = Link(bindings(), address, _unheard, _unheard)
        except CannotConnect:
            return False
        try:
            number = link.number_of(image)
        except (CommandRefused, ConnectionLost, NoReply):
            return False
        finally:
            link.close()
        if not number or qemu_of_domain(link.uuid) != pid:
            return False
        return number in numbers_at_start(command_line(pid), image)

    return kept


def numbers_at_start(line: str, image: str) -> Iterator[str]:
    """The numbers that libvirt gave to an image when it started a QEMU.

    Args:
        line: QEMU's words, each with a NUL after it.
        image: The image's file.
    """
    words = line.split("\0")
    for option, value in itertools.pairwise(words):
        if option != _OPTION:
            continue
        try:
            node = json.loads(value)
        except ValueError:
            continue
        if isinstance(node, dict) and node.get("filename") == image:
            prefix, _, rest = str(node.get("node-name")).partition("-")
            number, _, kind = rest.partition("-")
            if (prefix, kind) == ("libvirt", "storage"):
                yield number


def _unheard(_said: object) -> None:
    """Nobody waits for events here."""
