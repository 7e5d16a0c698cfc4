"""A guest agent that is not there: the agent's protocol on a unix socket, and misbehaviour on request.

It runs in a thread of its own, so that tests in an event loop and tests of the command line's process
can both talk to it.  It freezes nothing; `frozen` says what a guest's would be.
"""

import contextlib
import json
import socket
import threading
import time
from collections import deque

__all__ = ["FakeAgent", "Misbehaviour"]

FREEZE, THAW, STATUS = (f"guest-fsfreeze-{word}" for word in ("freeze", "thaw", "status"))
SYNC = "guest-sync-delimited"
DEADLINE_S = 60.0
STRAY = b'{"error": {"class": "GenericError", "desc": "JSON parse error, stray"}}\n'


class Misbehaviour:
    """What may happen at a command instead of a proper answer."""

    REFUSE = "refuse"  # an error; nothing is done
    SILENT = "silent"  # nothing is done, nothing said
    HANG = "hang"  # it is done, nothing said
    DROP = "drop"  # it is done, and the connection closed before the answer
    DIE = "die"  # it is done, and then the agent is gone for good
    GARBAGE = "garbage"  # it is done, and the answer is no JSON
    WRONG = "wrong"  # it is done, and the answer is of another type
    NOTHING = "nothing"  # nothing is done, and the answer says that it went well


class FakeAgent:
    """An agent that listens until it is closed.

    Attributes:
        frozen: How many file systems are frozen now.
        file_systems: How many a freeze freezes.
        script: What happens at the next commands, by name; each once, in order.
        leftovers: Bytes that lie in the channel before whoever connects has said anything.
        ids: Whether answers carry the ids of their commands (agents before QEMU 4.0 do not).
        calls: Commands but the synchronising ones, in order, each with the time (monotonic ns) at
            which it was read.
    """

    def __init__(self, path, *, file_systems=2, script=None, leftovers=b"", ids=True):
        self.path = str(path)
        self.frozen = 0
        self.file_systems = file_systems
        self.script = {name: deque(what) for name, what in (script or {}).items()}
        self.leftovers = leftovers
        self.ids = ids
        self.calls = []
        self.synchronised = 0
        self.before = {}  # command -> called first, in the agent's thread
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(1)
        self._connection = None
        self._called = threading.Condition()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.close()

    def wait_for(self, name):
        """Wait until a command has come."""
        with self._called:
            assert self._called.wait_for(lambda: name in self.names, DEADLINE_S), f"no {name}"

    def close(self):
        """Stop listening, and end the thread."""
        self._shut(self._listener)
        self._shut(self._connection)
        self._thread.join()

    @property
    def names(self):
        """The commands alone."""
        return [name for name, _ in self.calls]

    @staticmethod
    def _shut(sock):
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _serve(self):
        while True:
            try:
                self._connection, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                self._converse(self._connection)
            self._connection.close()

    def _converse(self, connection):
        connection.sendall(self.leftovers)
        rest = b""
        while data := connection.recv(4096):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if not self._take(connection, line):
                    return

    def _take(self, connection, line):
        """Take one command; whether the connection goes on."""
        _, sentinel, text = line.rpartition(b"\xff")
        command = json.loads(text)
        name = command["execute"]
        if name == SYNC:
            assert sentinel, "the agent was not told to forget half a command"
            self.synchronised += 1
            connection.sendall(STRAY)  # as the real one answers the 0xFF
        else:
            with self._called:
                self.calls.append((name, time.monotonic_ns()))
                self._called.notify_all()
        self.before.get(name, lambda: None)()
        queue = self.script.get(name)
        return self._act(connection, command, queue.popleft() if queue else "")

    def _act(self, connection, command, what):
        done = what not in (Misbehaviour.REFUSE, Misbehaviour.SILENT, Misbehaviour.NOTHING)
        value = self._do(command) if done else 0
        if what in (Misbehaviour.SILENT, Misbehaviour.HANG):
            return True
        if what == Misbehaviour.DIE:
            self._shut(self._listener)
        if what in (Misbehaviour.DIE, Misbehaviour.DROP):
            return False
        if what == Misbehaviour.GARBAGE:
            connection.sendall(b"{what?\n")
            return True
        reply = {"return": value if what != Misbehaviour.WRONG else ["two"]}
        if what == Misbehaviour.REFUSE:
            reply = {"error": {"class": "GenericError", "desc": "failed to freeze /srv"}}
        if self.ids and "id" in command:
            reply["id"] = command["id"]
        delimiter = b"\xff" if command["execute"] == SYNC else b""
        connection.sendall(delimiter + json.dumps(reply).encode() + b"\n")
        return True

    def _do(self, command):
        name = command["execute"]
        if name == SYNC:
            return command["arguments"]["id"]
        if name == STATUS:
            return "frozen" if self.frozen else "thawed"
        was, self.frozen = self.frozen, self.file_systems if name == FREEZE else 0
        return self.frozen if name == FREEZE else was
