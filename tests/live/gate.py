"""A relay between snapplan and QEMU's socket that holds one command back until it is let pass.

Descriptors that come with a command go with it.

With it a test reaches a step of a snapplan that runs as a program of its own, and keeps it there
for as long as it likes, without any guess at times. A command that is still held when the gate is
left is dropped: QEMU never has it.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from backends.simulator.json_stream import JsonStream

__all__ = ["Gate"]

DEADLINE_S = 150.0
"""Long, since it judges nothing: on a busy machine a minute was too short for a merge to get there."""
_MOST_DESCRIPTORS = 4


class Gate:
    """Listens at `path`, relays to a VM's tool socket; the first command of a name waits.

    Args:
        vm: The VM.
        held: QMP's name of the command that is held; empty: none is.

    Attributes:
        seen: What was let pass, and when (monotonic ns).
    """

    def __init__(self, vm, held: str = "") -> None:
        self.seen: list[tuple[str, int]] = []
        self.path: Path = vm.directory / "gate"
        self._upstream: Path = vm.qmp_path
        self._held = held
        self._sent = JsonStream()
        self._arrived = threading.Event()
        self._released = threading.Event()
        self._left = threading.Event()
        self._answered = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(self.path))
        self._listening.listen()
        self._start(self._serve)

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        if not self._released.is_set():
            self._left.set()
        self._released.set()
        for each in (self._listening, *self._sockets):
            _shut(each)
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for each in (self._listening, *self._sockets):
            each.close()
        self.path.unlink()

    def wait_arrived(self) -> None:
        """Wait until the command is here; nothing of it has reached QEMU."""
        assert self._arrived.wait(DEADLINE_S), f"snapplan never sent {self._held}"

    def release(self) -> None:
        """Let it pass."""
        self._released.set()

    def kill(self, running: subprocess.Popen, *, after: bool) -> None:
        """Kill a snapplan just before QEMU reads the held command, or when QEMU has answered it."""
        self.wait_arrived()
        if after:
            running.send_signal(signal.SIGSTOP)  # it never reads the answer
            self.release()
            self.wait_answered()
        running.kill()
        running.communicate()
        assert running.returncode == -signal.SIGKILL

    def cut(self) -> None:
        """Cut every connection there is, and drop what is held; who comes back is served."""
        self._left.set()
        self._released.set()
        for each in tuple(self._sockets):
            _shut(each)

    def wait_answered(self) -> None:
        """Wait until QEMU has answered it."""
        assert self._answered.wait(DEADLINE_S), f"QEMU never answered {self._held}"

    def _start(self, work, *arguments) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._sockets += [client, upstream]
                upstream.connect(str(self._upstream))
                self._start(self._relay, client, upstream, self._hold)
                self._start(self._relay, upstream, client, self._note_answer)

    def _relay(self, source: socket.socket, target: socket.socket, before) -> None:
        with contextlib.suppress(OSError):
            while True:
                chunk, descriptors, _, _ = socket.recv_fds(source, 1 << 16, _MOST_DESCRIPTORS)
                try:
                    if not chunk:
                        break
                    before(chunk)
                    if descriptors:
                        sent = socket.send_fds(target, [chunk], descriptors)
                        chunk = chunk[sent:]
                    target.sendall(chunk)
                finally:
                    for descriptor in descriptors:
                        os.close(descriptor)
        _shut(target)

    def _hold(self, chunk: bytes) -> None:
        # Only questions are sent before the command before them is answered, so what is held is the
        # first of its chunk, or comes with what stands before it.  A command that comes with a
        # descriptor is in two chunks, and the first of them is not held.
        messages = [each for each in self._sent.feed(chunk) if isinstance(each, dict)]
        commands = [message.get("execute") for message in messages]
        held = [each for each in messages if each.get("execute") == self._held and not _stops(each)]
        if held and not self._arrived.is_set():
            self._arrived.set()
            if not self._released.wait(DEADLINE_S) or self._left.is_set():
                raise ConnectionAbortedError(f"{self._held} was never let pass")
        self.seen += [(command, time.monotonic_ns()) for command in commands]

    def _note_answer(self, chunk: bytes) -> None:
        # A line that begins so is a reply; while the held command is out there is no other.
        if self._released.is_set() and (b'{"return"' in chunk or b'{"error"' in chunk):
            self._answered.set()


def _stops(message: dict) -> bool:
    """Whether it belongs to a load that finds nothing, which only stops the guest (fact 76)."""
    arguments = message.get("arguments", {})
    tag, job_id = str(arguments.get("tag", "")), str(arguments.get("id", ""))
    return tag.startswith("snapplan-none-") or job_id.endswith("-stop")


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
