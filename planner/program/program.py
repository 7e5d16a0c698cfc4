"""A program: QMP steps that do what a graph says, each with what it covers and how it is undone.

A program is plain data.  It holds the resolution that it was made for, so that `verify` can judge it
alone, whoever wrote it, and the executor needs nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum

from attrs import field, frozen

from planner.errors import Problem
from planner.model.operations import Operation
from planner.program.resolution import Resolution
from planner.program.state_files import DESCRIPTOR_NAME

__all__ = [
    "AGENT_INSTRUCTIONS",
    "DESCRIPTOR_NAME",
    "FLUSHES",
    "HOST_INSTRUCTIONS",
    "Program",
    "Step",
    "Target",
    "Undo",
    "UndoKind",
    "WaitsFor",
    "canonical_json",
    "job_id",
    "looks_of",
]


class Target(StrEnum):
    """Who does a step."""

    QMP = "qmp"
    """QEMU."""
    HOST = "host"
    """This machine, which QEMU runs on as well: files are made and named here."""
    AGENT = "agent"
    """The guest agent, on a socket of its own."""


AGENT_INSTRUCTIONS = ("guest-fsfreeze-freeze", "guest-fsfreeze-thaw")
"""What a step of target `agent` may say (`planner.run.ports.Agent`)."""

FLUSHES = ("flush-images", "flush-while-streaming", "end-flushing")
"""Of what a host may be told, what changes no file and no VM: it writes back what the kernel holds."""

HOST_INSTRUCTIONS = (
    "create-overlay",
    "create-vmstate-image",
    "create-copy",
    "keep-copy",
    "create-stream",
    "keep-stream",
    "flush-images",
    "flush-while-streaming",
    "end-flushing",
)
"""What a step of target `host` may say (`planner.run.ports.Host`)."""


class WaitsFor(StrEnum):
    """What has to be seen before a step counts as applied; a command's return alone proves little."""

    REPLY = "reply"
    """The reply: the command is synchronous in QEMU."""
    STOPPED = "stopped"
    """The reply, and the VM seen paused."""
    RUNNING = "running"
    """The reply, and the VM seen running."""
    JOB = "job"
    """The job seen concluded, without an error, and dismissed (facts 1 and 2)."""
    SWITCHOVER = "switchover"
    """The migration seen in `pre-switchover`: the guest stands, the nodes are active (fact 30)."""
    TRACKING = "tracking"
    """Pages seen in the stream: only from then on writes of the guest are held back (facts 39, 40)."""
    MIGRATED = "migrated"
    """The migration seen `completed`."""
    COPIED = "copied"
    """The copy's job seen concluded, without an error, and dismissed."""


class UndoKind(StrEnum):
    """How a step is undone."""

    DELETE_PART = "delete-part"
    """Delete the snapshot that the step made on a disk, by id and name (fact 22)."""
    RESUME = "resume"
    """Let the guest run again."""
    PAUSE = "pause"
    """Stop the guest again."""
    REMOVE_OVERLAY = "remove-overlay"
    """Take the overlay off the disk, what the guest wrote into it merged into the base, and its node."""
    REMOVE_NODE = "remove-node"
    """Take the node that machine state has of its own out of QEMU; its image goes with its file."""
    REMOVE_TARGET = "remove-target"
    """Take the node of a copy's file out of QEMU."""
    CANCEL_COPY = "cancel-copy"
    """Cancel the job that copies the disk, see it concluded, and dismiss it."""
    REMOVE_FILE = "remove-file"
    """Remove the file that the step made."""
    CLOSE_DESCRIPTOR = "close-descriptor"
    """Have QEMU close the descriptor that was passed, by its name or with its set."""
    CANCEL_MIGRATION = "cancel-migration"
    """Cancel the stream, and make the nodes active again before anything touches them (fact 35)."""
    THAW = "thaw"
    """Have the guest agent thaw the file systems, until it says that they are."""
    RESTORE_SETTINGS = "restore-settings"
    """Put back the VM's migration settings."""


@frozen(order=True)
class Undo:
    """One thing that undoes a part of a step; the disk is empty where it concerns the guest."""

    kind: UndoKind
    disk: str = ""


@frozen
class Step:
    """One QMP command, and all that is needed to run, judge and undo it.

    Attributes:
        execute: The command.
        arguments: Its arguments; node names may be references (``@disk``), bound when it runs.
        covers: The operations that it does; in this order, where it promises one.
        ordered: Whether the command promises the order of what it covers.
        atomic: Whether it does all or nothing.
        target: Who does it.
        precedes: For a step that covers nothing: operations that it has to come before.
        follows: For a step that covers nothing: operations that it has to come after.
        waits_for: What has to be seen before it counts as applied.
        undo: What undoes it, in the order in which that is to be done; empty: nothing can.
        timeout_s: After how many seconds without an outcome the outcome counts as unknown.
    """

    execute: str
    arguments: Mapping[str, object] = field(hash=False)
    covers: tuple[Operation, ...]
    waits_for: WaitsFor = WaitsFor.REPLY
    ordered: bool = False
    atomic: bool = False
    undo: tuple[Undo, ...] = ()
    timeout_s: int = 30
    target: Target = Target.QMP
    precedes: tuple[Operation, ...] = ()
    follows: tuple[Operation, ...] = ()


@frozen
class Program:
    """What a design makes of a resolved request.

    Attributes:
        design: Name of the design.
        resolution: What was decided.
        steps: In the order in which they run.
        not_chosen: Why each design that was tried before this one cannot do the request.
    """

    design: str
    resolution: Resolution
    steps: tuple[Step, ...]
    not_chosen: tuple[Problem, ...] = ()


def canonical_json(value: object) -> str:
    """The one text of plain values: keys sorted, one value a line, a newline at the end."""
    return json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def job_id(resolution: Resolution) -> str:
    """A job id that QEMU takes whatever the tag is (fact 3), and the same for the same request."""
    words = [resolution.tag, resolution.vmstate_at, *(part.disk for part in resolution.internal)]
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()
    return f"snapplan-{digest[:16]}"


def looks_of(step: Step) -> tuple[tuple[str, Mapping[str, object]], ...]:
    """The commands by which a client sees what became of a step: its wait, in QMP.

    A client sends each of them again and again until the answer is what the step waits for; a job's
    is sent once the job is concluded.
    """
    if step.waits_for is WaitsFor.JOB:
        dismiss = {"id": step.arguments.get("job-id")}
        return (("query-jobs", {}), ("job-dismiss", dismiss))
    if step.waits_for in (WaitsFor.STOPPED, WaitsFor.RUNNING):
        return (("query-status", {}),)
    asks_itself = step.execute in ("query-migrate", "query-jobs")
    if step.waits_for is WaitsFor.REPLY or asks_itself:
        return ()
    return (("query-migrate", {}),)
