"""Descriptors that a client passes: by a name (`getfd`), or into a set that a path can name (`add-fd`).

A set is one number for each descriptor in it.  `file:/dev/fdset/N` means a descriptor of set N, whoever
QEMU runs as (fact 75).  Whether a descriptor came along is not looked at here: who serves a socket does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attrs import evolve

from planner.semantics.result import CommandResult, generic
from planner.semantics.state import VmState

__all__ = ["add_fd", "closefd", "getfd", "query_fdsets", "remove_fd", "set_problem"]

_FDSET = "/dev/fdset/"


def getfd(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `getfd`; whoever passes a socket's descriptor notes that in `state.sockets` first."""
    name = cast("str", arguments["fdname"])
    if name[:1].isdigit():
        return CommandResult(
            state, error=generic("Parameter 'fdname' expects a name not starting with a digit")
        )
    others = tuple(fd for fd in state.fds if fd != name)
    return CommandResult(evolve(state, fds=(*others, name)), {})


def closefd(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `closefd`."""
    name = cast("str", arguments["fdname"])
    if name not in state.fds:
        return CommandResult(state, error=generic(f"File descriptor named '{name}' not found"))
    return CommandResult(evolve(state, fds=tuple(fd for fd in state.fds if fd != name)), {})


def add_fd(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `add-fd`; without a number QEMU takes the first that is free."""
    number = arguments.get("fdset-id")
    if number is None:
        number = next(free for free in range(len(state.fdsets) + 1) if free not in state.fdsets)
    if not isinstance(number, int) or number < 0:
        return CommandResult(
            state, error=generic("Parameter 'fdset-id' expects a non-negative value")
        )
    added = evolve(state, fdsets=(*state.fdsets, number))
    return CommandResult(added, {"fd": _first_fd(state) + len(state.fdsets), "fdset-id": number})


def remove_fd(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `remove-fd`, of a whole set; a stream that is being written keeps what it has."""
    number = cast("int", arguments["fdset-id"])
    if number not in state.fdsets:
        words = f"File descriptor named 'fdset-id:{number}' not found"
        return CommandResult(state, error=generic(words))
    return CommandResult(evolve(state, fdsets=tuple(n for n in state.fdsets if n != number)), {})


def query_fdsets(state: VmState) -> object:
    """The reply of `query-fdsets`."""
    first = _first_fd(state)
    held = list(enumerate(state.fdsets, start=first))
    return [
        {"fds": [{"fd": fd} for fd, of in held if of == number], "fdset-id": number}
        for number in sorted(set(state.fdsets))
    ]


def set_problem(state: VmState, path: str) -> str:
    """Why QEMU cannot open a path that means a set; empty: it can, or the path means none."""
    if not path.startswith(_FDSET):
        return ""
    number = path.removeprefix(_FDSET)
    if not number.isdigit() or int(number) >= 2**31:
        return f"Could not parse fdset {path}"
    return "" if int(number) in state.fdsets else f"Failed to find fdset {path}"


def _first_fd(state: VmState) -> int:
    return 12 if state.profile.version < (11,) else 15
