"""Which QEMU process this is, and which boot of this machine: what a journal has to know of both.

A VM keeps its UUID and its images when its QEMU ends and another one is started.  What a run may still
rely on does not: a guest that is paused because of us, jobs, automatic node names.  The thread ids of
QEMU's virtual CPUs tell its processes apart, on one boot of its host.
"""

from __future__ import annotations

from pathlib import Path

from planner.execute.ports import Backend, CommandRefused, ConnectionLost, NoReply

__all__ = ["ask_instance", "boot_id"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIMEOUT_S = 30.0


async def ask_instance(backend: Backend) -> str:
    """What tells this QEMU from another of the same VM; empty where it does not say."""
    try:
        cpus = await backend.execute("query-cpus-fast", {}, _TIMEOUT_S)
    except (CommandRefused, ConnectionLost, NoReply):
        return ""
    if not isinstance(cpus, list):
        return ""
    threads = [cpu.get("thread-id") for cpu in cpus if isinstance(cpu, dict)]
    return ",".join(str(thread) for thread in threads)


def boot_id() -> str:
    """What tells this boot from others; empty where the kernel does not say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
