"""Sees which members of a group serve the disks of which: by the kernel's word, on this machine.

Rules: only looks.  What cannot be seen is left open (`planner.group.serving`).
"""

from __future__ import annotations

from collections.abc import Mapping

from planner.group.serving import Server, Servers
from planner.host.connections import other_end, passes_on
from planner.model.served import served_at
from planner.store.meeting import Met

__all__ = ["servers_seen"]


def servers_seen(met: Mapping[str, Met]) -> dict[str, Servers]:
    """By member, who serves each of its disks that another process serves."""
    daemons: dict[int, str] = {}
    all_known = True
    for name, each in met.items():
        if each.facts.is_daemon and each.instance.process is not None:
            daemons[each.instance.process.pid] = name
        elif each.facts.is_daemon:
            all_known = False
    return {
        name: _servers(each, daemons, all_known=all_known)
        for name, each in met.items()
        if not each.facts.is_daemon
    }


def _servers(vm: Met, daemons: Mapping[int, str], *, all_known: bool) -> Servers:
    at = served_at(vm.facts)
    process = vm.instance.process
    if process is None or vm.backend.images is None:
        return {name: Server(address) for name, address in at.items()}
    seen = {
        address: _server(process.pid, address, daemons, all_known=all_known)
        for address in set(at.values())
    }
    return {name: seen[address] for name, address in at.items()}


def _server(pid: int, address: str, daemons: Mapping[int, str], *, all_known: bool) -> Server:
    ends = other_end(pid, address)
    member = next((daemons[end.pid] for end in ends if end.pid in daemons), "")
    if member or not ends or not all_known:
        return Server(address, member)
    if any(passes_on(end.pid, daemon) for end in ends for daemon in daemons):
        return Server(address)
    return Server(address, process=", ".join(end.words for end in ends))
