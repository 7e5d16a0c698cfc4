"""What is ended where a restore fails is what it started, and nobody who was there before."""

import asyncio
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

from attrs import define

from backends.launch import Launched

RELAY = "import signal, socket, sys; signal.alarm(60); place = socket.socket(socket.AF_UNIX)"
RELAY += "; place.bind(sys.argv[1]); place.listen(); place.accept()"


@define
class Peer:
    """A connection, of which only this matters here."""

    peer_pid: int


def test_who_was_there_before_is_never_ended(monkeypatch):
    """A relay, say, that serves many: it listens at the socket, and is no QEMU of ours."""
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:
        place = Path(folder) / "qmp"
        before = subprocess.Popen([sys.executable, "-c", RELAY, place])
        try:
            while not place.exists():
                assert before.poll() is None
            assert_left_alone(before, Path(folder), monkeypatch)
        finally:
            before.kill()
            before.wait()


def assert_left_alone(before, folder, monkeypatch):
    async def connected(_socket):
        return Peer(before.pid)

    monkeypatch.setattr("backends.launch.connect", connected)
    asyncio.run(asyncio.sleep(0.05))  # more than a tick of the kernel's clock
    later = subprocess.Popen(["sleep", "60"], start_new_session=True)
    launched = Launched(later, (folder / "said").open("w+b"))
    asyncio.run(launched.connect(str(folder / "qmp"), 30.0))
    assert launched.pid == later.pid
    launched.end()
    assert later.returncode is not None
    handle = os.pidfd_open(before.pid)
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    assert not poller.poll(0)
    os.close(handle)
