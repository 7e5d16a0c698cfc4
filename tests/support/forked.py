"""Runs snapplan as a fork of one that is loaded already (`fork_server.py`), as `subprocess.run` would.

Where no server runs, in campaigns among others, it is started as its users start it; so it is wherever a
test holds its process (`subprocess.Popen`), and in `tests/cli`.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from tests.support.contract import hold_run

__all__ = ["OF_COVERAGE", "run_snapplan", "serving"]

SNAPPLAN = Path(sys.executable).with_name("snapplan")
SERVER = Path(__file__).with_name("fork_server.py")
OF_COVERAGE = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG")
"""What has a Python measure coverage: each fork for itself, not the server."""
READ_AT_START = ("LANG", "LC_", "PYTHON")
"""How the variables begin that a Python reads when it starts, and not again."""
_servers = []


class _Server:
    """Started when it is needed first."""

    def __init__(self):
        self._control = self._process = None
        self._environment = _environment()

    def fits(self):
        """Whether a Python that was started now would be as this one is."""
        now = _environment()
        return all(
            self._environment.get(name) == now.get(name)
            for name in {*self._environment, *now}
            if name.startswith(READ_AT_START)
        )

    def send(self, request, descriptors):
        if self._control is None:
            self._start()
        socket.send_fds(self._control, [json.dumps(request).encode()], descriptors)

    def _start(self):
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", SERVER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=self._environment,
            )

    def close(self):
        if self._control is not None:
            self._control.close()
            self._process.wait()


@contextmanager
def serving():
    """Fork from now on, as long as this lasts."""
    server = _Server()
    _servers.append(server)
    try:
        yield
    finally:
        _servers.remove(server)
        server.close()


def run_snapplan(*arguments, text=""):
    """Run the command line with this standard input; the result has stdout and stderr as text."""
    command = [str(SNAPPLAN), *map(str, arguments)]
    if not _servers or not _servers[-1].fits():
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    done = _forked(_servers[-1], command, text or "")
    hold_run(done.args, done.returncode, done.stdout, done.stderr)
    return done


def _environment():
    return {name: value for name, value in os.environ.items() if name not in OF_COVERAGE}


def _forked(server, command, text):
    pipes = {name: os.pipe() for name in ("stdin", "stdout", "stderr", "ended")}
    theirs = [pipes["stdin"][0], *(pipes[name][1] for name in ("stdout", "stderr", "ended"))]
    request = {
        "arguments": command,
        "environment": dict(os.environ),
        "umask": int(re.search(r"Umask:\s*(\d+)", Path("/proc/self/status").read_text())[1], 8),
        "folder": str(Path.cwd()),
    }
    server.send(request, theirs)
    for each in theirs:
        os.close(each)
    said = {}
    readers = [
        threading.Thread(target=_read_all, args=(name, pipes[name][0], said))
        for name in ("stdout", "stderr", "ended")
    ]
    for reader in readers:
        reader.start()
    _write_all(pipes["stdin"][1], text)
    for reader in readers:
        reader.join()
    assert said["ended"], f"the fork server ended: {said['stderr']}"
    code = int(said["ended"])
    return subprocess.CompletedProcess(command, code, said["stdout"], said["stderr"])


def _read_all(name, descriptor, said):
    with os.fdopen(descriptor, encoding="utf-8") as stream:
        said[name] = stream.read()


def _write_all(descriptor, text):
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except BrokenPipeError:
        pass  # it did not read it
