"""Which QEMU process this is: what a journal and a lock have to know of it.

A VM keeps its UUID and its images when its QEMU ends and another one is started.  What a run may still
rely on does not: a guest that is paused because of us, jobs, automatic node names.  The process tells
its QEMUs apart (`planner.host.processes`); where it cannot be known (another PID namespace, another
machine), the thread ids of QEMU's virtual CPUs and the file of its socket have to do.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from planner.host.processes import Process, daemon_process, qemu_process
from planner.model.facts import Facts
from planner.run.ports import Backend, CommandRefused, ConnectionLost, NoReply

__all__ = ["Instance", "ask_instance", "files_of", "socket_stamp", "threads_of"]

_TIMEOUT_S = 30.0


@frozen
class Instance:
    """A QEMU process, as far as it can be known.

    Attributes:
        threads: Thread ids of its virtual CPUs, as it has them itself.
        process: The process; None: it cannot be told from here.
        socket: What tells its socket from one that is made anew at the same path; empty: not known.
    """

    threads: tuple[int, ...] = ()
    process: Process | None = None
    socket: str = ""

    @property
    def name(self) -> str:
        """The thread ids, as a journal has them."""
        return ",".join(str(thread) for thread in self.threads)


async def ask_instance(backend: Backend, facts: Facts, address: str) -> Instance:
    """What tells this QEMU from another of the same VM; less where it does not say.

    Args:
        backend: Connected to it.
        facts: Just asked from it.
        address: Where its socket is.
    """
    if facts.is_daemon:
        process = daemon_process(backend.peer_pid, files_of(facts))
        return Instance((), process, socket_stamp(address))
    try:
        cpus = await backend.execute("query-cpus-fast", {}, _TIMEOUT_S)
    except (CommandRefused, ConnectionLost, NoReply):
        cpus = []
    threads = threads_of(cpus)
    process = qemu_process(backend.peer_pid, threads, files_of(facts))
    return Instance(threads, process, socket_stamp(address))


def threads_of(cpus: object) -> tuple[int, ...]:
    """The thread ids in a reply to `query-cpus-fast`; none where it has another shape."""
    if not isinstance(cpus, list):
        return ()
    found = [cpu.get("thread-id") for cpu in cpus if isinstance(cpu, dict)]
    return tuple(thread for thread in found if isinstance(thread, int))


def files_of(facts: Facts) -> tuple[str, ...]:
    """Every image of a VM, those under others too."""
    tops = [disk.filename for disk in facts.disks]
    below = [layer.filename for disk in facts.disks for layer in disk.backing]
    return tuple(dict.fromkeys(file for file in (*tops, *below) if file))


def socket_stamp(address: str) -> str:
    """What tells a socket's file from one that is made anew at its path; empty: there is none."""
    if "/" not in address:
        return ""
    try:
        stat = Path(address).stat()
    except OSError:
        return ""
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_mtime_ns}"
