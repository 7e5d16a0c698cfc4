"""Whether a unix socket serves a client: one that has gone holds nothing, noticed or not."""

import contextlib
import socket

import pytest

from backends.held_socket import serves_somebody, serves_somebody_over_tcp


@pytest.fixture
def served(tmp_path):
    """A server's socket, one that it accepted, and the client."""
    path = tmp_path / "s"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(path))
        server.listen()
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.connect(str(path))
        yield path, server, stack, client


def test_who_waits_is_not_served_and_who_is_accepted_is(served):
    """The kernel says which: a connection that nobody has accepted has no inode."""
    path, server, stack, _client = served
    assert not serves_somebody(str(path))
    stack.enter_context(server.accept()[0])
    assert serves_somebody(str(path))


def test_our_own_connection_is_nobody_elses(served):
    """Before, a QEMU that had accepted us and was slow to greet was told to be another client's."""
    path, server, stack, client = served
    stack.enter_context(server.accept()[0])
    assert not serves_somebody(str(path), but=client)
    other = stack.enter_context(socket.socket(socket.AF_UNIX))
    other.connect(str(path))
    assert serves_somebody(str(path), but=other), "who waits is not who is served"


def test_the_same_over_tcp():
    """Who is served, and who is us, is told by the port."""
    with socket.socket() as server, socket.socket() as client, socket.socket() as other:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
        with server.accept()[0]:
            other.connect(server.getsockname())
            assert not serves_somebody_over_tcp(client)
            assert serves_somebody_over_tcp(other)


def test_a_client_that_has_gone_holds_nothing(served):
    """Before, a busy QEMU that had not noticed it yet was told to be another client's."""
    path, server, stack, client = served
    stack.enter_context(server.accept()[0])  # and it is not closed
    client.close()
    assert not serves_somebody(str(path))
