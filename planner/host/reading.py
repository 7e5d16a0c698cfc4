"""Reads what a snapshot's files hold, beside whoever waits for it: it is told of, and can be stopped.

Rules: gigabytes may have to be read, so it is done in a thread.  A wish to stop is heard within some
mebibytes; nothing is changed by reading, so there is nothing to undo.
"""

from __future__ import annotations

import asyncio

from planner.host.evidence import OnRead, look_at_files
from planner.parts.manifest import Manifest
from planner.parts.recorded_files import FoundFile

__all__ = ["read_files"]


class _Unwanted(Exception):
    """Nobody waits for it any more."""


async def read_files(
    manifest: Manifest, tell: OnRead, *, deep: bool = False, template: bool = False
) -> dict[str, FoundFile]:
    """A snapshot's files as they are, by path; see `planner.host.evidence.look_at_files`.

    Args:
        manifest: What was recorded.
        tell: Told how many bytes are read, of how many, in the thread of whoever waits.
        deep: Whether every content that has a digest is compared.
        template: Whether the files of its template are looked at as well.
    """
    loop, wanted = asyncio.get_running_loop(), True

    def told(done: int, total: int) -> None:
        if not wanted:
            raise _Unwanted
        loop.call_soon_threadsafe(tell, done, total)

    try:
        return await asyncio.to_thread(
            look_at_files, manifest, deep=deep, tell=told, template=template
        )
    finally:
        wanted = False
