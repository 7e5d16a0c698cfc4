"""Who is at the other end of a process's connection is what the kernel says, or nothing."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from planner.host.connections import other_end, passes_on

CLIENT = """
import socket, sys
kept = []
for word in sys.argv[1:]:
    kind, _, where = word.partition("=")
    one = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    one.connect(where if kind == "unix" else ("127.0.0.1", int(where)))
    kept.append(one)
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def stack():
    with contextlib.ExitStack() as kept:
        yield kept


def listening(stack, address):
    server = stack.enter_context(
        socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    )
    server.bind(address)
    server.listen()
    return server


def client(stack, *words, cwd=None, servers=(), then=""):
    """A process that is connected to these, and what they accepted."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT.replace("print(", f"{then}\nprint("), *words],
        *(-1, None, subprocess.PIPE, subprocess.PIPE),
        cwd=cwd,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    stack.callback(process.stdin.close)
    stack.callback(process.stdout.close)
    process.stdout.readline()
    for server in servers:
        stack.enter_context(server.accept()[0])
    return process.pid


def ends(pid, address):
    return [end.pid for end in other_end(pid, address)]


def test_the_server_of_a_unix_socket(stack, tmp_path):
    """By its path, by a relative one, by another name of it; and no server of another path."""
    path, other = str(tmp_path / "s"), str(tmp_path / "o")
    server, beside = listening(stack, path), listening(stack, other)
    (tmp_path / "link").symlink_to(path)
    words = ("unix=s", f"unix={other}")
    pid = client(stack, *words, cwd=tmp_path, servers=(server, beside))
    for name in (path, "s", str(tmp_path / "link")):
        assert ends(pid, f"unix:{name}") == [os.getpid()]
    assert ends(pid, f"unix:{tmp_path / 'nothing'}") == []
    assert ends(os.getpid(), f"unix:{tmp_path / 'nothing'}") == []


def test_a_socket_whose_file_is_gone_or_anothers(stack, tmp_path):
    """Without its file its name counts; a server that came later at the path serves nobody yet."""
    path = tmp_path / "s"
    pid = client(stack, f"unix={path}", servers=(listening(stack, str(path)),))
    path.unlink()
    assert ends(pid, f"unix:{path}") == [os.getpid()]
    listening(stack, str(path))
    assert ends(pid, f"unix:{path}") == []


def test_a_relative_name_after_the_client_has_left_its_folder(stack, tmp_path, monkeypatch):
    """As of a daemon and a QEMU that were daemonized: the name that both used still counts."""
    monkeypatch.chdir(tmp_path)
    server = listening(stack, "s")
    words = "import os, sys; os.chdir('/'); sys.path = []"
    pid = client(stack, "unix=s", cwd=tmp_path, servers=(server,), then=words)
    assert ends(pid, "unix:s") == [os.getpid()]


def test_who_waits_is_served_by_nobody(stack, tmp_path):
    """A connection that nobody has accepted leads nowhere."""
    path = str(tmp_path / "s")
    listening(stack, path)
    assert ends(client(stack, f"unix={path}"), f"unix:{path}") == []


def test_the_server_of_a_tcp_port(stack):
    """By its port; another port that the client is connected to is another server's."""
    server, other = (listening(stack, ("127.0.0.1", 0)) for _ in range(2))
    port, beside = (each.getsockname()[1] for each in (server, other))
    pid = client(stack, f"tcp={port}", servers=(server,))
    assert ends(pid, f"localhost:{port}") == [os.getpid()]
    assert ends(pid, f"localhost:{beside}") == []
    assert ends(pid, "localhost:http") == []


def test_a_process_that_has_ended_shows_nothing(tmp_path):
    """Its id is nobody's, so nobody is at the other end, and it may have been a relay."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert ends(process.pid, f"unix:{tmp_path / 's'}") == []
    assert passes_on(process.pid, os.getpid())


def test_a_relay_is_told_from_a_server(stack, tmp_path):
    """Who is connected to the daemon, or over TCP to anybody, may pass on; who is not does not."""
    path = str(tmp_path / "s")
    relay = client(stack, f"unix={path}", servers=(listening(stack, path),))
    assert passes_on(relay, os.getpid())
    alone = client(stack)
    assert not passes_on(alone, os.getpid())
    server = listening(stack, ("127.0.0.1", 0))
    over_tcp = client(stack, f"tcp={server.getsockname()[1]}", servers=(server,))
    assert passes_on(over_tcp, os.getpid())
