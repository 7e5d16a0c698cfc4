"""Starts a QEMU that outlives snapplan: from a list of words, in a session of its own, no shell.

What it says goes to a file without a name, so that it can be told where QEMU does not come up.  The
words may name a script, or say ``-daemonize``: then QEMU is another process than the one that was
started here, known by the socket at which it listens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from attrs import define, field

from backends.qemu import QemuBackend, connect
from backends.tied import tied
from planner.errors import CannotConnect, Problem, Refused, RunFailed
from planner.host.ending import await_end, end_process
from planner.host.processes import Process, process_of

__all__ = ["Launched", "launch", "launch_tied"]

_END_S = 10.0
_LOOK_EACH_S = 0.005
_SAID_LIMIT_BYTES = 2000


@define
class Launched:
    """A QEMU that was started here."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    _began: Process | None = field(init=False)
    _listener: Process | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._began = process_of(self.process.pid)

    @property
    def pid(self) -> int:
        """Its process id; of a script or ``-daemonize`` QEMU's own, once it is connected."""
        return self.process.pid if self._listener is None else self._listener.pid

    def said(self) -> str:
        """The last of what it wrote to its outputs."""
        size = self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, size - _SAID_LIMIT_BYTES))
        return self.output.read().decode(errors="replace").strip()

    async def connect(self, socket: str, timeout_s: float) -> QemuBackend:
        """Connect as soon as it listens.

        Raises:
            RunFailed: It ended, or did not listen in time (``qemu-not-started``).
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                backend = await connect(socket)
            except CannotConnect as error:
                code = self.process.poll()
                if code or time.monotonic() > deadline:
                    how = f"ended with {code}" if code else f"does not listen: {error.message}"
                    raise _not_started(f"QEMU {how}: {self.said() or 'it said nothing'}") from error
            else:
                self._listener = self._started_with_it(backend.peer_pid)
                return backend
            await asyncio.sleep(_LOOK_EACH_S)

    def _started_with_it(self, pid: int | None) -> Process | None:
        """Who listens, where that is another process than ours, and no older one."""
        if pid is None or pid == self.process.pid or self._began is None:
            return None
        process = process_of(pid)
        if process is None or process.started_ticks < self._began.started_ticks:
            return None
        return process

    def end(self) -> None:
        """End it, whatever it does, and the script that started it."""
        if self._listener is not None:
            end_process(self._listener)
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)  # its session is its own
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()

    def wait(self, timeout_s: float) -> None:
        """Wait until it has ended by itself, so long at most."""
        if self._listener is not None:
            await_end(self._listener, timeout_s)
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)

    def leave(self) -> None:
        """Let it go on without us."""
        self.output.close()
        # Else Python warns of a child that nobody waits for; that is what is wanted here.
        self.process.returncode = 0


@define
class TiedQemu(Launched):
    """A QEMU that is not to outlive us, and whose disks nobody needs: it is killed, not asked."""

    def end(self) -> None:
        """End it at once."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.output.close()


async def launch_tied(words: Sequence[str], socket: str) -> TiedQemu:
    """Start a QEMU that dies with this program; see `launch` and `backends.tied`."""
    started = await launch(tied(words), socket)
    return TiedQemu(started.process, started.output)


async def launch(words: Sequence[str], socket: str) -> Launched:
    """Start QEMU.

    Args:
        words: Program and arguments.
        socket: Where it is to listen: nobody may listen there yet.

    Raises:
        Refused: Somebody listens at the socket (``address-in-use``).
        RunFailed: It cannot be started (``qemu-not-started``).
    """
    if await _answers(socket):
        problem = Problem("address-in-use", socket, "a VM runs there", "end it, or give --qmp PATH")
        raise Refused.of(problem)
    return _start(words)


def _start(words: Sequence[str]) -> Launched:
    output = tempfile.TemporaryFile(prefix="snapplan-")  # noqa: SIM115 - it lives as long as QEMU
    try:
        process = subprocess.Popen(
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        output.close()
        raise _not_started(f"{words[0]} cannot be started: {error.strerror}") from error
    return Launched(process, output)


async def _answers(socket: str) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    writer.close()
    return True


def _not_started(why: str) -> RunFailed:
    problem = Problem("qemu-not-started", "--run", why)
    return RunFailed(why, problems=(problem,), code=problem.code)
