"""Whether a unix socket serves a client: one that has gone holds nothing, noticed or not."""

import contextlib
import socket

import pytest

from backends.held_socket import serves_somebody


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


def test_a_client_that_has_gone_holds_nothing(served):
    """Before, a busy QEMU that had not noticed it yet was told to be another client's."""
    path, server, stack, client = served
    stack.enter_context(server.accept()[0])  # and it is not closed
    client.close()
    assert not serves_somebody(str(path))
