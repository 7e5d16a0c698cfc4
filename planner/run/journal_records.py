"""What a journal is made of: its header, and its records."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from planner.host.processes import Process
from planner.model.ancestor import Ancestor
from planner.model.group_run import GroupRun
from planner.run.actions import Response
from planner.run.observation import Baseline
from planner.run.ports import Event

__all__ = ["Again", "Header", "Intent", "Record", "Result"]


@frozen
class Header:
    """What a run began with.

    Attributes:
        run: The run's name.
        snapplan: Version of the snapplan that wrote it.
        address: Where the VM's QMP socket was.
        vm_uuid: The VM's UUID, or empty.
        vm_name: Its name, or empty.
        instance: Thread ids of QEMU's virtual CPUs, as it has them itself; empty: not known.
        boot: What tells this boot of the host from another; empty: not known.
        started_ns: Host's wall clock, since the epoch.
        plan: The plan, as its file has it.
        facts: The VM's facts just before the run, as their file has them, without the schema.
        baseline: What the machine was given of the VM.
        deadline_s: What replaced every step's deadline, in seconds.
        process: The QEMU process; None: it could not be told.
        socket: What tells the socket's file from a new one at its path; empty: not known.
        becomes: What the VM stands on once the run is done: a snapshot, then its ancestors.
        group: The run of a group that it is a member of; None: of none.
    """

    run: str
    snapplan: str
    address: str
    vm_uuid: str
    vm_name: str
    instance: str
    boot: str
    started_ns: int
    plan: Mapping[str, object]
    facts: Mapping[str, object]
    baseline: Baseline
    deadline_s: float | None = None
    process: Process | None = None
    socket: str = ""
    becomes: tuple[Ancestor, ...] = ()
    group: GroupRun | None = None


@frozen
class Intent:
    """Something that changes the VM or the host is about to be done.

    Attributes:
        action: The action as plain values: compared, never read back.
    """

    action: Mapping[str, object]


@frozen
class Result:
    """What came of an action.

    Attributes:
        action: The action as plain values.
        response: What the machine is told.
        events: What QEMU said meanwhile.
        interrupted: Whether the user's wish to stop reached the machine with it.
        changed: Whether it had an intent.
    """

    action: Mapping[str, object]
    response: Response
    events: tuple[Event, ...] = ()
    interrupted: bool = False
    changed: bool = False


@frozen
class Again:
    """The run had ended undone in part, or unknown, and its undo is begun anew."""


Record = Intent | Result | Again
