"""A command at a terminal of its own, which is read and typed into while it runs."""

import os
import pty
import select
import signal
import time

from tests.support.forked import OF_COVERAGE

__all__ = ["Terminal"]

PATIENCE_S = 60.0
CTRL_C = b"\x03"


class Terminal:
    """Starts a command at a pseudo-terminal; a context manager, after which it has ended.

    Attributes:
        shown: What it has shown so far.
        moments: When (`time.monotonic`) it has shown what: a pair a read, after one for the start.
        exit_code: Of the command; None: it has not ended.
    """

    def __init__(self, *arguments, **environment):
        words = [str(word) for word in arguments]
        self.shown = ""
        self.moments = [(time.monotonic(), "")]
        self.exit_code = None
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            changed = {**_unmeasured(), "TERM": "dumb", **environment}
            os.execve(words[0], words, changed)  # noqa: S606

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.exit_code is None:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()
        os.close(self._terminal)

    def until(self, text):
        """Read until it has shown this."""
        while text not in self.shown:
            assert self._read(), f"it ended before {text!r}: {self.shown}"

    def still(self, seconds):
        """What is shown meanwhile, with nobody typing."""
        before = len(self.shown)
        while self._ready(seconds) and self._read():
            pass
        return self.shown[before:]

    def rest(self):
        """Read to the end; the exit code."""
        return self._typed(b"")

    def answer(self, line):
        """Type a line, and read to the end; the exit code."""
        return self._typed(f"{line}\n".encode())

    def interrupt(self, count=1):
        """Press Ctrl-C so often, and read to the end; the exit code."""
        for _ in range(count - 1):
            os.write(self._terminal, CTRL_C)
            self.until("^C")
        return self._typed(CTRL_C)

    def end_input(self):
        """Press Ctrl-D, and read to the end; the exit code."""
        return self._typed(b"\x04")

    def _typed(self, keys):
        os.write(self._terminal, keys)
        while self._read():
            pass
        self._reap()
        return self.exit_code

    def _read(self):
        assert self._ready(PATIENCE_S), f"nothing more is shown: {self.shown}"
        try:
            more = os.read(self._terminal, 65536)
        except OSError:  # Linux says so when the other end is closed
            return False
        text = more.decode(errors="replace")
        self.shown += text
        self.moments.append((time.monotonic(), text))
        return bool(more)

    def _ready(self, seconds):
        poll = select.poll()  # `select` takes no descriptor above 1023
        poll.register(self._terminal, select.POLLIN | select.POLLHUP)
        return poll.poll(seconds * 1000)

    def _reap(self):
        self.exit_code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def _unmeasured():
    """The environment without coverage: its tracer holds a lock, and a handler that interrupts it there
    waits for that lock for ever (seen in 2 of 20 runs that were interrupted twice).
    """
    return {name: value for name, value in os.environ.items() if name not in OF_COVERAGE}
