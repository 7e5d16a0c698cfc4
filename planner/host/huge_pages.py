"""Joins a QEMU's memory into huge pages again, from outside and while its guest runs.

The first background capture of a VM splits the huge pages that its memory is in, and every later one
pauses the guest ten times as long for it (`specs/pause.md`).  Linux 6.1 and later join them on request:
`process_madvise` with MADV_COLLAPSE, for whoever may trace that process and has CAP_SYS_NICE.  Nothing
of the guest changes.  Only memory that QEMU itself marked for huge pages is asked for.  What cannot be
done is said in a note: a snapshot never fails of it.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import frozen

__all__ = ["Joined", "join_huge_pages"]

_PROCESS_MADVISE = 440
"""The number that every architecture of Linux has for it."""
_MADV_COLLAPSE = 25
_HUGE = 2 << 20
_AT_ONCE = 64 << 20
"""What one call is asked for: between two, a process that ends is noticed."""
_WANTS_HUGE_PAGES = "hg"
_QEMU_NAMES = ("qemu", "kvm")
_NOT_JOINED = "memory was not joined into huge pages"
_NOT_ALLOWED = f"{_NOT_JOINED}: this needs CAP_SYS_NICE, and leave to trace QEMU (root has both)"
_NOT_THERE = f"{_NOT_JOINED}: its QEMU is no process that can be seen from here"
_NOTHING = f"{_NOT_JOINED}: QEMU marked none of it for them"
_NO_KERNEL = f"{_NOT_JOINED}: this Linux cannot (6.1 and later can)"


class _Range(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("length", ctypes.c_size_t))


@frozen
class Joined:
    """What became of a process's memory.

    Attributes:
        before_bytes: What of it was in huge pages before.
        after_bytes: And afterwards.
        note: Why none of it, or not all that was asked for, could be joined; empty: all is well.
    """

    before_bytes: int = 0
    after_bytes: int = 0
    note: str = ""


@frozen
class _Mapping:
    begin: int
    end: int
    huge_bytes: int
    wanted: bool


def join_huge_pages(pid: int | None) -> Joined:
    """Join a QEMU's memory into huge pages; takes about a quarter of a second a GiB.

    Args:
        pid: Its process, in our PID namespace; None: not known.
    """
    if not pid or not _is_qemu(pid):
        return Joined(note=_NOT_THERE)
    try:
        return _join(pid)
    except (ProcessLookupError, FileNotFoundError):
        return Joined(note=_NOT_THERE)
    except PermissionError:
        return Joined(note=_NOT_ALLOWED)
    except OSError as error:
        unknown = error.errno in (errno.ENOSYS, errno.EINVAL)
        return Joined(note=_NO_KERNEL if unknown else f"{_NOT_JOINED}: {error.strerror}")


def _is_qemu(pid: int) -> bool:
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return name.startswith(_QEMU_NAMES)


def _join(pid: int) -> Joined:
    before = [mapping for mapping in _mappings(pid) if mapping.wanted]
    if not before:
        return Joined(note=_NOTHING)
    failure: OSError | None = None
    process = os.pidfd_open(pid)
    try:
        for mapping in before:
            for begin, length in _pieces(mapping):
                failure = _collapse(process, begin, length) or failure
    finally:
        os.close(process)
    after = [mapping for mapping in _mappings(pid) if mapping.wanted]
    joined = Joined(_huge_bytes(before), _huge_bytes(after))
    if failure is not None and joined.after_bytes <= joined.before_bytes:
        raise failure
    return joined


def _huge_bytes(mappings: Sequence[_Mapping]) -> int:
    return sum(mapping.huge_bytes for mapping in mappings)


def _mappings(pid: int) -> Iterator[_Mapping]:
    """The anonymous memory of a process, as /proc/PID/smaps has it."""
    lines = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace").splitlines()
    bounds, huge, anonymous = (0, 0), 0, False
    for line in lines:
        name, *rest = line.split()
        if not name.endswith(":"):
            begin, _, end = name.partition("-")
            bounds, huge = (int(begin, 16), int(end, 16)), 0
            anonymous = rest[3] == "0"
        elif name == "AnonHugePages:":
            huge = int(rest[0]) * 1024
        elif name == "VmFlags:" and anonymous:
            yield _Mapping(*bounds, huge, _WANTS_HUGE_PAGES in rest)


def _pieces(mapping: _Mapping) -> Iterator[tuple[int, int]]:
    """The whole huge pages of a mapping, so many at a time."""
    begin, end = -(-mapping.begin // _HUGE) * _HUGE, mapping.end // _HUGE * _HUGE
    for at in range(begin, end, _AT_ONCE):
        yield at, min(_AT_ONCE, end - at)


def _collapse(process: int, begin: int, length: int) -> OSError | None:
    """One call; an error that concerns this piece alone is returned.

    A piece that the guest never touched is none (EINVAL), one that is busy may be joined next time.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    where = _Range(begin, length)
    done = libc.syscall(
        ctypes.c_long(_PROCESS_MADVISE),
        ctypes.c_int(process),
        ctypes.byref(where),
        ctypes.c_size_t(1),
        ctypes.c_int(_MADV_COLLAPSE),
        ctypes.c_uint(0),
    )
    if done >= 0:
        return None
    number = ctypes.get_errno()
    error = OSError(number, os.strerror(number))
    if number in (errno.EPERM, errno.EACCES, errno.ESRCH, errno.ENOSYS):
        raise error
    return error
