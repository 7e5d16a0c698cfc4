"""One QEMU process, one lock: whatever the socket, the store and the user, one snapplan works on it.

Each lock is a name in the kernel's abstract socket namespace.  It is on no disk, needs no folder that
all users may write to, and goes with the process that holds it, however that ends.  Who holds one can be
asked by connecting to it.  It is good in one network namespace; see `specs/decisions`.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from planner.errors import Problem, Refused
from planner.store.instance import Instance

__all__ = ["held_by", "locked_names", "names_of"]

_ASKERS = 4096
"""How many may ask who holds a lock; nobody takes their connections, and later ones are not told."""
_AT_WORK = "another snapplan is at work on this QEMU"
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid


def names_of(instance: Instance, uuid: str = "", name: str = "") -> tuple[str, ...]:
    """The locks of a QEMU process: by what the kernel says of it, and by what it says itself.

    The first tells two QEMUs apart for certain; the second is the same for all who ask, through a
    relay, over TCP or from a container too.
    """
    names = []
    process = instance.process
    if process is not None:
        names.append(f"process:{process.boot}:{process.inner_pid}:{process.started_ticks}")
    if instance.threads:
        names.append(f"threads:{uuid}:{name}:{instance.threads[0]}")
    return tuple(names)


@contextmanager
def locked_names(names: Sequence[str]) -> Iterator[None]:
    """Hold locks, all of them or none.

    Raises:
        Refused: Somebody else holds one (``vm-locked``).
    """
    with ExitStack() as held:
        for name in names:
            held.enter_context(_hold(name))
        yield


def held_by(names: Sequence[str]) -> str:
    """Who is at work on a QEMU, in words; empty: nobody, or it cannot be told.  No lock is taken."""
    holders = (_holder(_address(name)) for name in names)
    return next((f"{_AT_WORK}{holder}" for holder in holders if holder), "")


def _address(name: str) -> bytes:
    return b"\0snapplan-" + hashlib.sha256(name.encode()).hexdigest()[:32].encode()


def _hold(name: str) -> socket.socket:
    address = _address(name)
    holding = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        holding.bind(address)
        holding.listen(_ASKERS)
    except OSError as error:
        holding.close()
        if error.errno != errno.EADDRINUSE:
            raise
        holder = _holder(address)
        problem = Problem(
            "vm-locked",
            "vm",
            f"{_AT_WORK}{holder}",
            "wait until it has ended",
        )
        raise Refused.of(problem) from error
    return holding


def _holder(address: bytes) -> str:
    """Who holds a lock, in words; empty: that cannot be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(0)
        try:
            asking.connect(address)
            told = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return ""
    pid, uid, _ = _CREDENTIALS.unpack(told)
    return f": process {pid} of user {uid}" if pid else f" (user {uid})"
