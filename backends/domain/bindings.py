"""libvirt's Python module, and its event loop: a thread of this process for all connections.

libvirt-python is no dependency of snapplan (`pip install snapplan[libvirt]`, or Debian's
python3-libvirt), so it is imported when a domain is first asked for.  Its events come only where
somebody runs its event loop; the thread here does.  It is ended before Python ends: a thread that
libvirt calls back from while Python takes itself down takes the process down with SIGSEGV.
"""

from __future__ import annotations

import atexit
import importlib
import os
import threading
from typing import Any

from planner.errors import CannotConnect, Problem

__all__ = ["Bindings", "bindings", "events_so_far"]

_TURN_MS = 500
_PATIENCE_S = 5.0
_ENDING_S = 2.0
_REMEDY = "pip install 'snapplan[libvirt]' (needs libvirt-dev and gcc), or Debian's python3-libvirt"

_lock = threading.Lock()
_running: dict[int, Bindings] = {}
"""By process: a fork takes no thread with it."""


class Bindings:
    """libvirt-python, its event loop running.

    Attributes:
        libvirt: The module.
        qemu: The module of what is QEMU's alone.
    """

    def __init__(self) -> None:
        self.libvirt: Any = importlib.import_module("libvirt")
        self.qemu: Any = importlib.import_module("libvirt_qemu")
        self.libvirt.registerErrorHandler(_say_nothing, None)
        self.libvirt.virEventRegisterDefaultImpl()
        # Without a timer the loop would not notice what is registered while it waits.
        self.libvirt.virEventAddTimeout(_TURN_MS, _nothing, None)
        self._ended = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._turn, name="libvirt-events", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def _turn(self) -> None:
        while not self._ended and self.libvirt.virEventRunDefaultImpl() >= 0:
            pass

    def _end(self) -> None:
        """End the loop, which hears of it at once; a callback that hangs is not waited for long."""
        if os.getpid() != self._process:
            return  # a fork took no thread with it
        self._ended = True
        self.libvirt.virEventAddTimeout(0, _nothing, None)
        self._thread.join(_ENDING_S)


def bindings() -> Bindings:
    """libvirt-python, ready.

    Raises:
        CannotConnect: It is not installed (``libvirt-missing``).
    """
    with _lock:
        found = _running.get(os.getpid())
        if found is None:
            try:
                found = Bindings()
            except ImportError as error:
                problem = Problem("libvirt-missing", "libvirt", f"{error}", _REMEDY)
                words = "libvirt-python is not installed"
                raise CannotConnect(words, problems=(problem,), code=problem.code) from error
            _running[os.getpid()] = found
        return found


def events_so_far(of: Bindings) -> None:
    """Wait until the loop has handed out every event that had come before this call."""
    done = threading.Event()
    # Timers that are due run in the order in which they were made; libvirt's own, with the events,
    # is older.
    timer = of.libvirt.virEventAddTimeout(0, lambda *_: done.set(), None)
    done.wait(_PATIENCE_S)
    of.libvirt.virEventRemoveTimeout(timer)


def _say_nothing(_context: object, _error: object) -> None:
    """What went wrong is raised as well; libvirt would print it besides."""


def _nothing(*_: object) -> None:
    """A turn of the loop."""
