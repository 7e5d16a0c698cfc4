"""A program that takes a snapshot, and is killed at a point of it: what `crashing` starts.

    python -m planner.experiment.dying '{"address": …, "store": …, "design": …, "disks": …, "point": …}'

Points are numbered from 1: just before the first command that is no question is sent, when it is
answered, just before the second, and so on.  There it says where it is, and sends itself SIGKILL, which
nothing in it can catch or clean up after.  A point beyond the last one is never met, and it ends well.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from backends.guest_agent import GuestAgent
from backends.qemu import QemuBackend
from planner.experiment.requested import request_as
from planner.run.pump import ask_facts
from planner.store.store import Store
from planner.verbs.context import Context
from planner.verbs.save import save

__all__ = ["DyingBackend", "main"]

_QUESTIONS = ("query-", "qom-")
_CONNECT_S = 30.0


class DyingBackend(QemuBackend):
    """A QEMU's backend that kills its process at a point.

    Args:
        address: QEMU's socket.
        point: The point, from 1.
    """

    def __init__(self, address: str, point: int) -> None:
        super().__init__(address)
        self._left = point

    async def execute(
        self, command: str, arguments: Mapping[str, object], timeout_s: float
    ) -> object:
        """Send a command; see `planner.run.ports.Backend`."""
        if command.startswith(_QUESTIONS):
            return await super().execute(command, arguments, timeout_s)
        self._pass_by(f"before {command}")
        reply = await super().execute(command, arguments, timeout_s)
        self._pass_by(f"after {command}")
        return reply

    def _pass_by(self, place: str) -> None:
        self._left -= 1
        if self._left == 0:
            os.write(sys.stdout.fileno(), place.encode())
            os.kill(os.getpid(), signal.SIGKILL)


async def _save(asked: Mapping[str, str]) -> None:
    backend = DyingBackend(asked["address"], int(asked["point"]))
    await backend.connect(_CONNECT_S)
    try:
        store = Store(Path(asked["store"]))
        context = Context(backend, store, asked["address"], GuestAgent)
        wanted = request_as(asked["design"], int(asked["disks"]), await ask_facts(backend))
        saved = await save(context, wanted, asked["design"])
        saved.outcome.raise_failure()
    finally:
        await backend.close()


def main() -> None:
    """Take the snapshot that the first argument tells of."""
    asyncio.run(_save(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
