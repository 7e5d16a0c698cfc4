"""Joining a VM's memory into huge pages, so that its next background capture pauses it no longer."""

from __future__ import annotations

import asyncio

from planner.host.huge_pages import Joined, join_huge_pages
from planner.run.ports import Backend

__all__ = ["Joined", "join_memory"]


async def join_memory(backend: Backend) -> Joined:
    """Join what QEMU's memory is in, while the guest runs; nothing that it can see changes.

    Args:
        backend: The VM, connected.

    Returns:
        What was joined, or a note why not; nothing is raised.
    """
    return await asyncio.to_thread(join_huge_pages, backend.peer_pid)
