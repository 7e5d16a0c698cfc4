"""Which disks of a VM another process serves, and where: what a storage daemon is known by.

A disk by vhost-user shows as a device whose chardev is connected somewhere, one by NBD as an image whose
file is an address.  QEMU says both (fact 134).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.model.facts import Disk, Facts
from planner.model.outside import outside_of
from planner.model.peripherals import UNIX
from planner.model.text import json_object

__all__ = ["address_of_disk", "served_at", "served_disks"]

_UNIX_SCHEME, _TCP_SCHEME = "nbd+unix://", "nbd://"
_OPTIONS = "json:"
_SOCKET = "?socket="
_LONGEST_CHAIN = 16


def served_at(facts: Facts) -> dict[str, str]:
    """By every name that a request may use, the address of what another process serves.

    An address is ``unix:PATH`` or ``HOST:PORT``.  What QEMU shows no address of is not there.
    """
    return {name: address for names, address in _served(facts) for name in names}


def served_disks(facts: Facts) -> dict[str, str]:
    """The same by each disk's first name alone."""
    return {names[0]: address for names, address in _served(facts)}


def _served(facts: Facts) -> Iterator[tuple[tuple[str, ...], str]]:
    for each in outside_of(facts):
        if each.peer:
            yield each.names, each.peer
    for disk in facts.disks:
        if address := address_of_disk(disk):
            yield disk.names, address


def address_of_disk(disk: Disk) -> str:
    """Where the NBD server of a disk is, as `served_at` has it; empty: it has none that QEMU shows."""
    name = disk.filename
    if name.startswith(_UNIX_SCHEME):
        # QEMU writes both parts as they are, without escapes (fact 134).
        return f"{UNIX}{name.rpartition(_SOCKET)[2]}" if _SOCKET in name else ""
    if name.startswith(_TCP_SCHEME):
        return name.removeprefix(_TCP_SCHEME).partition("/")[0]
    if name.startswith(_OPTIONS):
        return next(_spelled(json_object(name.removeprefix(_OPTIONS)) or {}), "")
    return ""


def _spelled(options: Mapping[str, object]) -> Iterator[str]:
    """The server in an image's options, which are nested, or flat with dots."""
    for _ in range(_LONGEST_CHAIN):
        server = options.get("server")
        told = server if isinstance(server, dict) else _below(options, "server.")
        path, host, port = (told.get(key) for key in ("path", "host", "port"))
        if isinstance(path, str):
            yield f"{UNIX}{path}"
        elif isinstance(host, str) and isinstance(port, str):
            yield f"{host}:{port}"
        below = options.get("file")
        options = below if isinstance(below, dict) else _below(options, "file.")


def _below(options: Mapping[str, object], start: str) -> dict[str, object]:
    return {
        key.removeprefix(start): value for key, value in options.items() if key.startswith(start)
    }
