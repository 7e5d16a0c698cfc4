"""Whether QEMU can write-protect the guest's memory, as `capture: background` needs it (fact 63).

QEMU itself says it only when the capability is set, which a plan must not do.  So it is looked up where
QEMU would look: may its process use userfaultfd, and what are the files mapped from that its memory is
in.  Linux only, from /proc, for a QEMU of this machine; what cannot be told from here stays unknown,
and then QEMU has the last word.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from attrs import evolve

from planner.model.facts import Facts, WriteTracking

__all__ = ["with_write_tracking"]

_PROC = Path("/proc")
_QEMU_NAMES = ("qemu", "kvm")
"""What the name of QEMU's process starts with; who else listens at the socket is a relay."""
_DEVICE = "dev/userfaultfd"
_UNPRIVILEGED = _PROC / "sys/vm/unprivileged_userfaultfd"
_ALL_IDS = ["0", "0", "4294967295"]
_CAP_DAC_OVERRIDE = 1 << 1
_CAP_SYS_PTRACE = 1 << 19
_ACL = "system.posix_acl_access"
_READ_WRITE = 0o6


def with_write_tracking(facts: Facts, peer: int | None) -> Facts:
    """Facts with what this machine says of its QEMU; the same where it cannot say.

    Args:
        facts: Just asked from it.
        peer: Who listens at its socket, by the kernel's word; None: not known.
    """
    if not peer or not _text(_PROC / str(peer) / "comm").startswith(_QEMU_NAMES):
        return facts
    process = _PROC / str(peer)
    objects = tuple(
        evolve(found, filesystem=_filesystem(process, found.path)) if found.path else found
        for found in facts.objects
    )
    return evolve(facts, write_tracking=_allowed(process), objects=objects)


def _allowed(process: Path) -> WriteTracking:
    """Whether a process may open a userfaultfd: by the device, by a capability, or since all may."""
    sysctl = _text(_UNPRIVILEGED).strip()
    if sysctl == "1":
        return WriteTracking.ALLOWED
    status = _status(process)
    if not status:
        return WriteTracking.UNKNOWN
    capabilities = int(status.get("CapEff", ["0"])[0], 16)
    initial = _in_the_first_user_namespace(process)
    if initial and capabilities & _CAP_SYS_PTRACE:
        return WriteTracking.ALLOWED
    device = _device(process, status, capabilities)
    if device is not WriteTracking.DENIED:
        return device
    if not initial:
        return WriteTracking.UNKNOWN
    return WriteTracking.DENIED if sysctl else WriteTracking.LACKING


def _device(process: Path, status: dict[str, list[str]], capabilities: int) -> WriteTracking:
    path = process / "root" / _DEVICE
    try:
        found = path.stat()
    except FileNotFoundError:
        return WriteTracking.DENIED
    except OSError:
        return WriteTracking.UNKNOWN
    if not stat.S_ISCHR(found.st_mode):
        return WriteTracking.DENIED
    mode = found.st_mode
    user, group = status["Uid"][1], status["Gid"][1]
    if str(found.st_uid) == user:
        granted = mode >> 6
    elif str(found.st_gid) in (group, *status.get("Groups", [])):
        granted = mode >> 3
    else:
        granted = mode
    if granted & _READ_WRITE == _READ_WRITE or capabilities & _CAP_DAC_OVERRIDE:
        return WriteTracking.ALLOWED
    try:
        os.getxattr(path, _ACL)
    except OSError:
        return WriteTracking.DENIED
    return WriteTracking.UNKNOWN  # an access list may grant what the mode does not


def _in_the_first_user_namespace(process: Path) -> bool:
    """Whether a capability of a process is one over the machine, and not over its container only."""
    return _text(process / "uid_map").split() == _ALL_IDS


def _filesystem(process: Path, path: str) -> str:
    """The type of the file system that a file of a process is in; empty: it cannot be told."""
    place = process / "root" / path.lstrip("/") if path.startswith("/") else process / "cwd" / path
    try:
        number = next(p.stat().st_dev for p in (place, place.parent) if p.exists())
    except (OSError, StopIteration):
        return ""
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in _text(process / "mountinfo").splitlines():
        # ID PARENT MAJOR:MINOR ROOT PLACE OPTIONS [TAG...] - TYPE SOURCE OPTIONS
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [wanted]:
            return after.split()[0]
    return ""


def _status(process: Path) -> dict[str, list[str]]:
    lines = _text(process / "status").splitlines()
    found = {key: rest.split() for key, _, rest in (line.partition(":") for line in lines)}
    return found if {"Uid", "Gid"} <= found.keys() else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
