"""Finds a backend by its name: one that snapplan brings along, or one that another distribution adds.

A distribution adds a backend by an entry point of the group ``snapplan.backends``; its object is called
with an address and awaited, and gives a connected `planner.run.ports.Backend`.  What an address
looks like is the backend's own affair.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from planner.errors import BadInput, Problem
from planner.run.ports import Backend

__all__ = [
    "DEFAULT_BACKEND",
    "Connect",
    "find_backend",
    "is_here",
    "known_backends",
    "named_backend",
    "plain_qemu_address",
]

DEFAULT_BACKEND = "qemu"
_LIBVIRT = "libvirt"
_LIBVIRT_URI = re.compile(r"qemu(\+[a-z0-9]+)?://")
"""What starts so can be nothing else, and needs no ``libvirt:`` before it."""
_LIBVIRT_HERE = ("qemu:///", "qemu+unix:///")
_GROUP = "snapplan.backends"

_OPTIONS = ("server", "wait", "nowait", "reconnect", "reconnect-ms", "ipv4", "ipv6", "nodelay")
"""Of QEMU's character devices, in the short form that ``-qmp`` takes."""

Connect = Callable[[str], Awaitable[Backend]]


def known_backends() -> tuple[str, ...]:
    """The names of all backends that are installed."""
    return tuple(sorted(entry_points(group=_GROUP).names))


def find_backend(spelled: str, name: str = "") -> tuple[Connect, str]:
    """The backend that an address is meant for, and the address as that backend spells it.

    Args:
        spelled: ``ADDRESS``, or ``NAME:ADDRESS`` where a backend of this name is installed.
        name: The backend that was chosen otherwise (`--backend`); then all of `spelled` is an address.

    Raises:
        BadInput: No backend is called so (``backend-unknown``), several are (``backend-ambiguous``), or
            it cannot be imported (``backend-broken``).
    """
    if not name:
        name, spelled = named_backend(spelled)
    name = name or DEFAULT_BACKEND
    return _load(name), plain_qemu_address(spelled) if name == DEFAULT_BACKEND else spelled


def named_backend(spelled: str) -> tuple[str, str]:
    """The backend that an address names, or empty, and the address without that name."""
    if _LIBVIRT_URI.match(spelled):
        return _LIBVIRT, spelled
    before, colon, rest = spelled.partition(":")
    if colon and before in entry_points(group=_GROUP).names:
        return before, rest
    return "", spelled


def is_here(address: str) -> bool:
    """Whether what answers at an address runs on this machine, so that its files are this machine's."""
    name, rest = named_backend(address)
    if name != _LIBVIRT:
        return address.startswith("/")
    return rest.startswith(_LIBVIRT_HERE)


def plain_qemu_address(spelled: str) -> str:
    """An address as it may stand behind QEMU's own ``-qmp``, without what is QEMU's affair.

    ``unix:PATH,server=on,wait=off`` is PATH, and ``tcp:HOST:PORT,server=on`` is HOST:PORT.
    """
    kind, colon, rest = spelled.partition(":")
    if not colon or kind not in ("unix", "tcp"):
        return spelled
    place, _, options = rest.partition(",")
    # A path may have a comma: only what QEMU would take for options is cut off.
    of_qemu = all(part.partition("=")[0] in _OPTIONS for part in options.split(","))
    return place if of_qemu or not options else rest


def _load(name: str) -> Connect:
    # The same distribution may be found twice on a path; two that differ are a choice by chance.
    found = {
        (each.value, _distribution(each)): each for each in entry_points(group=_GROUP, name=name)
    }
    if not found:
        known = ", ".join(known_backends()) or "none"
        raise _refused(
            Problem("backend-unknown", name, "no backend is called so", f"known: {known}")
        )
    if len(found) > 1:
        who = ", ".join(sorted(f"{value} of {whose}" for value, whose in found))
        remedy = "uninstall all but one of the distributions"
        raise _refused(
            Problem("backend-ambiguous", name, f"several backends are called so: {who}", remedy)
        )
    (entry,) = found.values()
    try:
        return cast("Connect", entry.load())
    except (ImportError, AttributeError) as error:
        why = f"it cannot be imported: {error}"
        raise _refused(Problem("backend-broken", name, why, "install it again")) from error


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unknown distribution"


def _refused(problem: Problem) -> BadInput:
    words = f"backend {problem.subject}: {problem.message}"
    return BadInput(words, problems=(problem,), code=problem.code)
