"""A socket that a migration is begun into only to be cancelled (`planner.run.migrating`)."""

from __future__ import annotations

import socket

from planner.run.actions import Response, Send
from planner.run.asking import answer_of
from planner.run.ports import Backend

__all__ = ["Sink"]


class Sink:
    """One pair of sockets at a time: QEMU gets one end, and the other stays open and unread.

    A socket, not a pipe: QEMU can shut one down when the migration is cancelled, and would wait for ever
    for a pipe that nobody reads.
    """

    def __init__(self) -> None:
        self._ours: socket.socket | None = None

    async def send(self, backend: Backend, send: Send) -> Response:
        """Send a command, and with it one end of a new pair; what came of it."""
        self.close()
        self._ours, theirs = socket.socketpair()
        with theirs:
            return await answer_of(
                backend.execute_with_descriptor(
                    send.command, send.arguments, theirs.fileno(), send.timeout_s
                )
            )

    def close(self) -> None:
        """End it: what is still written into it fails."""
        if self._ours is not None:
            self._ours.close()
            self._ours = None
