"""The gate itself: what is held reaches nobody until it is let pass, and never once it was dropped."""

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.live.gate import Gate

HELD, OTHER = b'{"execute": "held"}\n', b'{"execute": "other"}\n'


@pytest.fixture
def upstream(tmp_path):
    """A VM that is a listening socket, and nothing else."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "tool"))
        listening.listen()
        listening.settimeout(60)
        yield SimpleNamespace(
            directory=tmp_path, qmp_path=Path(tmp_path / "tool"), listening=listening
        )


def connected(gate, upstream):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(str(gate.path))
    server, _ = upstream.listening.accept()
    server.settimeout(60)
    return client, server


@pytest.mark.parametrize("released", [True, False])
def test_what_is_held_is_let_pass_or_dropped(upstream, released):
    with Gate(upstream, "held") as gate:
        client, server = connected(gate, upstream)
        client.sendall(OTHER)
        assert server.recv(99) == OTHER
        client.sendall(HELD)
        gate.wait_arrived()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(99)
        server.settimeout(60)
        if released:
            gate.release()
            assert server.recv(99) == HELD
    assert server.recv(99) == b"", "whatever was dropped never comes"
    client.close()
    server.close()


def test_what_comes_in_one_piece_is_held_as_a_whole(upstream):
    """Questions may be right behind a command, and a piece may end inside of one."""
    with Gate(upstream, "held") as gate:
        client, server = connected(gate, upstream)
        client.sendall(OTHER + OTHER + HELD[:9])
        assert server.recv(99) == OTHER + OTHER + HELD[:9]
        client.sendall(HELD[9:] + OTHER)
        gate.wait_arrived()
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(99)
        server.settimeout(60)
        gate.release()
        assert server.recv(99) == HELD[9:] + OTHER
        client.close()
        server.close()


def test_a_descriptor_goes_with_its_command(upstream):
    with Gate(upstream, "held") as gate:
        client, server = connected(gate, upstream)
        reading, writing = os.pipe()
        socket.send_fds(client, [OTHER[:1]], [writing])
        os.close(writing)
        chunk, [passed], _, _ = socket.recv_fds(server, 99, 1)
        assert chunk == OTHER[:1]
        client.sendall(OTHER[1:])
        assert server.recv(99) == OTHER[1:]
        os.write(passed, b"x")
        os.close(passed)
        assert os.read(reading, 9) == b"x"
        os.close(reading)
        client.close()
        server.close()
