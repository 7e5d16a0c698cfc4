"""Ends a process that is provably the one that was meant, and no other of its id."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from planner.host.processes import Process, lives, process_of

__all__ = ["await_end", "end_listener", "end_process", "remove_socket_folder", "socket_folder"]

_ASKED_S = 10.0
_KILLED_S = 10.0
_PREFIX = "snapplan-qmp-"
_CREDENTIALS = struct.Struct("3i")


def end_process(process: Process) -> bool:
    """End a process: asked to first, then killed.

    Returns:
        Whether it has ended, or was gone; False: it may be there, or may not be ended by us.
    """
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return lives(process) is False
    try:
        if lives(process) is not True:  # looked at now: from here on the handle means just it
            return lives(process) is False
        return _end(handle, signal.SIGTERM, _ASKED_S) or _end(handle, signal.SIGKILL, _KILLED_S)
    finally:
        os.close(handle)


def await_end(process: Process, within_s: float) -> bool:
    """Wait until a process has ended by itself, so long at most; whether it has, or was gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return lives(process) is False
    try:
        return lives(process) is False or _ends(handle, within_s)
    finally:
        os.close(handle)


def end_listener(path: str) -> bool:
    """End whoever listens at a socket that nobody else was told of; the same."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
            asked.settimeout(_ASKED_S)
            asked.connect(path)
            said = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    except OSError:
        return True  # nobody listens there
    process = process_of(_CREDENTIALS.unpack(said)[0])
    return process is not None and end_process(process)


@contextmanager
def socket_folder() -> Iterator[str]:
    """A folder that only we can look into, for a socket that nobody else is told of."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        yield folder


def remove_socket_folder(path: str) -> None:
    """Remove what is left of such a folder, by a socket's path in it."""
    folder = Path(path).parent
    if folder.name.startswith(_PREFIX) and folder.parent == Path(tempfile.gettempdir()):
        shutil.rmtree(folder, ignore_errors=True)


def _end(handle: int, number: signal.Signals, within_s: float) -> bool:
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _ends(handle, within_s)


def _ends(handle: int, within_s: float) -> bool:
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(within_s * 1000))
