"""What of the page cache is written back when, so that a flush in the guest's pause has little to do.

Best effort, all of it: a file that cannot be opened or flushed is left out, and nothing but time is
lost.  The figures behind it are in `specs/pause.md`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from backends.by_descriptor import open_file

__all__ = ["Flusher", "Reopener", "Worker", "available_bytes", "flush", "kernel_begins_at_bytes"]

_EVERY_S = 0.02
_BLOCK_BYTES = 512  # of `st_blocks`
_PROC = Path("/proc")


def flush(paths: Sequence[str]) -> None:
    """Write back the contents of each file that is there; relative paths are QEMU's, not ours."""
    for path in paths:
        if not path.startswith("/"):
            continue
        try:
            descriptor = open_file(Path(path))
        except OSError:
            continue
        try:
            os.fdatasync(descriptor)
        except OSError:
            continue
        finally:
            os.close(descriptor)


def kernel_begins_at_bytes(proc: Path = _PROC) -> int:
    """How much unwritten data the kernel lets gather before it writes back by itself; 0: unknown.

    `vm.dirty_background_bytes`, or that part of the available memory which
    `vm.dirty_background_ratio` says.
    """
    try:
        given = int((proc / "sys/vm/dirty_background_bytes").read_text())
        if given:
            return given
        percent = int((proc / "sys/vm/dirty_background_ratio").read_text())
    except (OSError, ValueError):
        return 0
    return available_bytes(proc) * percent // 100


def available_bytes(proc: Path = _PROC) -> int:
    """How much memory the kernel could give without swapping, its page cache too; 0: unknown."""
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0
    return kib * 1024


class Worker:
    """Does one thing again and again in a thread of its own, until it says that it is done."""

    def __init__(self, name: str, work: Callable[[], bool]) -> None:
        self._work = work
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(_EVERY_S):
            if self._work():
                return

    @property
    def stopped(self) -> bool:
        """Whether it is to come to its end."""
        return self._ended.is_set()

    def stop(self) -> None:
        """Begin no further round; one that is under way goes on."""
        self._ended.set()

    def end(self) -> None:
        """End it; returns when the last round is done."""
        self.stop()
        self._thread.join()


class Flusher(Worker):
    """Flushes a growing stream, and images beside it, again and again, until `end`.

    It begins when the stream is as large as what the kernel would not leave in its cache anyway.
    Before that it would do harm: only data that has its place on the disk is waited for by the next
    flush of an image, and it is the flush that gives it its place.

    Args:
        stream: The stream; it need not be there yet.
        images: The images.
        begin_at_bytes: From which size on.
    """

    def __init__(self, stream: str, images: Sequence[str], begin_at_bytes: int) -> None:
        self._stream = stream
        self._paths = (stream, *images)
        self._begin_at_bytes = begin_at_bytes
        super().__init__("snapplan-flush", self._flush)

    def _flush(self) -> bool:
        try:
            blocks = Path(self._stream).stat().st_blocks
        except OSError:
            return False
        if blocks * _BLOCK_BYTES >= self._begin_at_bytes:
            flush(self._paths)
        return False


class Reopener(Worker):
    """Opens and closes a file once, as soon as somebody has written to it.

    QEMU opens `file:PATH` with `O_TRUNC`.  ext4 (`auto_da_alloc`) takes a file that was cut to
    nothing for a replacement and gives all of it its place on the disk when it is next closed, by
    whomever: at a stream's end that is all the guest's memory, in the guest's pause, and at its
    beginning next to nothing.

    Args:
        descriptor: The file, open; the caller's, and open until `end`.
        path: The same file by name.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        self._descriptor = descriptor
        self._path = path
        super().__init__("snapplan-reopen", self._reopen)

    def _reopen(self) -> bool:
        try:
            if not os.fstat(self._descriptor).st_size:
                return False
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            os.close(os.open(self._path, flags))
        except OSError:
            pass  # it is gone: nothing left to hasten
        return True
