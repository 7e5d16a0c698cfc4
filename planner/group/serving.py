"""Which member of a group serves a disk of another one: what the request says, against what is seen.

QEMU says where a disk's connection leads, and the kernel who is at its other end (facts 134 and 135).
Where that is seen, another word in the request is an error: the disks of one daemon would be saved, and
the guest has those of another.  What cannot be seen (another machine, another user's process, a relay)
proves nothing, and the request's word stands; the plan says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve, frozen

from planner.errors import Problem
from planner.model.peripherals import UNIX

__all__ = ["Server", "Servers", "proposed", "right_member", "server_problems", "server_warnings"]


@frozen
class Server:
    """What is known of who serves a disk; without member and process nothing is.

    Attributes:
        address: Where the disk's connection leads, ``unix:PATH`` or ``HOST:PORT``; empty: not known.
        member: The member at its other end.
        process: The process there, in words, if it is no member's.
    """

    address: str = ""
    member: str = ""
    process: str = ""

    @property
    def place(self) -> str:
        """The address, for a person."""
        return self.address.removeprefix(UNIX)


Servers = Mapping[str, Server]
"""Of a VM, by every name of a disk."""
_UNKNOWN = Server()


def right_member(disk: str, seen: Servers) -> str:
    """What to write of a disk, where it is seen who serves it; else empty."""
    member = seen.get(disk, _UNKNOWN).member
    return f"write `{disk}: {{served-by: {member}}}`" if member else ""


def server_problems(subject: str, disk: str, said: str, seen: Servers) -> Iterator[Problem]:
    """What speaks against the member that a request names.

    Args:
        subject: The disk with its member, for messages.
        disk: The disk.
        said: The member that is to serve it.
        seen: Of the disk's VM.
    """
    server = seen.get(disk, _UNKNOWN)
    if server.member not in {"", said}:
        yield Problem(
            "served-by-another",
            subject,
            f"the request says that {said!r} serves it, and it is connected to {server.place}, which "
            f"member {server.member!r} serves",
            right_member(disk, seen),
        )
    elif server.process:
        yield Problem(
            "served-by-another",
            subject,
            f"the request says that {said!r} serves it, and it is connected to {server.place}, which "
            f"{server.process} serves, and that is no member",
            f"name that process's QMP socket as a member, or write `{disk}: exclude`",
        )


def server_warnings(disk: str, said: str, seen: Servers) -> Iterator[str]:
    """What the reader should know of a disk whose server could not be seen."""
    server = seen.get(disk, _UNKNOWN)
    if not (server.member or server.process):
        at = f" (it is connected to {server.place})" if server.place else ""
        yield f"{disk}: that {said!r} serves it is the request's word; it cannot be seen from here{at}"


def proposed(problem: Problem, seen: Servers) -> Problem:
    """A refusal of a disk that another process serves; with the member to write, where it is seen."""
    server = seen.get(problem.subject, _UNKNOWN)
    if problem.code != "storage-outside" or not (server.member or server.process):
        return problem
    if server.member:
        remedy = (
            f"{right_member(problem.subject, seen)}: it is connected to {server.place}, which that "
            "member serves"
        )
    else:
        remedy = (
            f"it is connected to {server.place}, which {server.process} serves: name the QMP socket of "
            f"that process as a member, and write `{problem.subject}: {{served-by: MEMBER}}`; if the "
            f"guest can do with the lack, write `{problem.subject}: exclude`"
        )
    return evolve(problem, remedy=remedy)
