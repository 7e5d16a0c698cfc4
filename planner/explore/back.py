"""Going back to a snapshot, and deleting one: what is explored, and where a run of it can be.

The request is the one that saved the snapshot: every disk of it holds the tag.  Two instants are in the
model, the one before the switch and the saved one.  Each disk reads as at one of them; so does the
guest's memory, unless it was reset, or read in part.

Rules: plain values; a setting does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum, StrEnum
from typing import NamedTuple

from attrs import frozen

from planner.errors import Problem, Refused
from planner.explore.acts import ClientDeath, ClientPhase
from planner.explore.design import DesignFile
from planner.explore.instruction import ClientKind, Instruction
from planner.explore.laying import bound, named
from planner.model.operations import CAPTURES, Kind, Operation
from planner.model.request import RunStateAfter
from planner.program.resolution import Resolution

__all__ = ["BackSetting", "BackState", "Memory", "Purpose", "back_setting", "purpose_of"]

_READS = frozenset({Kind.REVERT_DISK, Kind.READ_VMSTATE, Kind.RESET_GUEST})
_BACK = _READS | {Kind.PAUSE_GUEST, Kind.RESUME_GUEST, Kind.DELETE_DISK_SNAPSHOT}
_SAVES = CAPTURES | {Kind.BEGIN_STREAM_VMSTATE, Kind.END_STREAM_VMSTATE, Kind.DISCARD_VMSTATE}


class Purpose(StrEnum):
    """What a design is for; its operations tell."""

    SAVE = "save"
    LOAD = "load"
    DELETE = "delete"


class Memory(IntEnum):
    """Of which instant the guest's memory and devices are."""

    BEFORE = 0
    SAVED = 1
    FRESH = 2
    """Reset: it goes with any disks that are of one instant."""
    BROKEN = 3
    """Read in part."""


class BackState(NamedTuple):
    """One moment.

    Attributes:
        saved: Mask of the disks that read as the snapshot does; the others as before.
        memory: Of which instant memory and devices are.
        running: Whether the guest runs.
        mixed: Whether it ever ran on what is not of one instant.
        held: Mask of the disks that hold the snapshot.
        namesakes: Mask of the disks on which another client made a snapshot of the same tag.
        harmed: Mask of the disks where that was deleted.
        phase: Where the run is.
        at: The instruction in hand, or next.
        sent: Whether it was sent.
        done: Mask of its operations that are done.
        failing: Whether it has failed.
        takeback: Mask of the operations that QEMU still takes back.
        stopped: Whether the instruction stopped the guest itself.
        again: Whether the client sends it a second time, since it heard nothing of the first.
        dead: Whether QEMU is gone.
        budget: How many faults may still strike.
    """

    saved: int
    memory: int
    running: bool
    held: int
    budget: int
    mixed: bool = False
    namesakes: int = 0
    harmed: int = 0
    phase: int = ClientPhase.STEPPING
    at: int = 0
    sent: bool = False
    done: int = 0
    failing: bool = False
    takeback: int = 0
    stopped: bool = False
    again: bool = False
    dead: bool = False


@frozen
class BackSetting:
    """What an exploration of a load or a delete is about.

    Attributes:
        design: Name of the design.
        purpose: ``load`` or ``delete``.
        tag: What the snapshot is called.
        disks: Names of its disks.
        vmstate: Number of the one that holds the machine state; -1: it is of disks only.
        instructions: In the order in which the client sends them.
        runs_before: Whether the guest runs before; it is to run, or not, afterwards too (fact 23).
        faults: How many faults may strike.
        other_clients: Whether other QMP clients act too; what they do counts as a fault.
        client_death: Whether the client may die, and what comes then.
        client: How the client treats a failure.
    """

    design: str
    purpose: Purpose
    tag: str
    disks: tuple[str, ...]
    vmstate: int
    instructions: tuple[Instruction, ...]
    runs_before: bool = True
    faults: int = 0
    other_clients: bool = False
    client_death: ClientDeath = ClientDeath.NEVER
    client: ClientKind = ClientKind.CAREFUL

    @property
    def of_guest(self) -> tuple[str, ...]:
        """Names of the disks that are the guest's."""
        return self.disks

    @property
    def whole(self) -> int:
        """Mask of all disks."""
        return (1 << len(self.disks)) - 1

    @property
    def resets(self) -> bool:
        """Whether the guest is reset on the way."""
        return any(Kind.RESET_GUEST in instruction.kinds for instruction in self.instructions)

    def start(self) -> BackState:
        """The state before the run: the present, and every disk holds the snapshot."""
        return BackState(0, Memory.BEFORE, self.runs_before, self.whole, self.faults)


def purpose_of(design: DesignFile) -> Purpose:
    """What a design is for: it saves if it captures anything, else it reverts, or only deletes."""
    kinds = {kind for _, kind in named(design)}
    if kinds & _SAVES:
        return Purpose.SAVE
    if kinds & _READS:
        return Purpose.LOAD
    only_deletes = Kind.DELETE_DISK_SNAPSHOT in kinds and kinds <= _BACK
    return Purpose.DELETE if only_deletes else Purpose.SAVE


def back_setting(
    design: DesignFile,
    resolution: Resolution,
    *,
    faults: int = 0,
    other_clients: bool = False,
    client_death: ClientDeath = ClientDeath.NEVER,
) -> BackSetting:
    """Lay a design that loads or deletes over the request that saved the snapshot.

    Raises:
        Refused: It cannot; each problem says why.
    """
    purpose = purpose_of(design)
    disks = tuple(part.disk for part in resolution.internal)
    runs = resolution.run_state_before is RunStateAfter.RUNNING
    operations = tuple(_operations(purpose, disks, resolution.vmstate, runs=runs))
    found = tuple(bound(design, operations, resolution.vmstate))
    problems = [
        *_external(design, resolution),
        *_strange(design),
        *_not_reached(design, operations, found),
    ]
    if problems:
        raise Refused(
            f"design {design.name} cannot {purpose} this snapshot",
            problems=tuple(problems),
            code="design-cannot",
        )
    return BackSetting(
        design=design.name,
        purpose=purpose,
        tag=resolution.tag,
        disks=disks,
        vmstate=disks.index(resolution.vmstate) if resolution.vmstate else -1,
        instructions=found,
        runs_before=runs,
        faults=faults,
        other_clients=other_clients,
        client_death=client_death,
        client=design.client,
    )


def _operations(
    purpose: Purpose, disks: tuple[str, ...], vmstate: str, *, runs: bool
) -> Iterator[Operation]:
    yield from (Operation(Kind.DELETE_DISK_SNAPSHOT, disk=disk) for disk in disks)
    if purpose is Purpose.LOAD:
        yield from (Operation(Kind.REVERT_DISK, disk=disk) for disk in disks)
        yield Operation(Kind.READ_VMSTATE, disk=vmstate or disks[0])
        yield Operation(Kind.RESET_GUEST)
    if runs:
        yield from (Operation(Kind.PAUSE_GUEST), Operation(Kind.RESUME_GUEST))


def _external(design: DesignFile, resolution: Resolution) -> Iterator[Problem]:
    outside = [overlay.disk for overlay in resolution.overlays]
    outside += [copy.disk for copy in resolution.copies]
    if resolution.state_file is not None:
        outside.append("machine-state")
    for subject in outside:
        why = "is not in the VM's own images: it goes back in a fresh QEMU, which is not modelled"
        yield Problem(
            "design-cannot", subject, f"design {design.name}: the part of {subject} {why}"
        )


def _strange(design: DesignFile) -> Iterator[Problem]:
    for planned, kind in named(design):
        if kind not in _BACK:
            why = f"{planned.name} does {kind}, which is no part of a load or a delete"
            yield Problem("design-cannot", planned.name, f"design {design.name}: {why}")
    for planned in design.instructions:
        if planned.effect != "none":
            why = (
                f"{planned.name} has the effect {planned.effect}, which a load or a delete has not"
            )
            yield Problem("design-cannot", planned.name, f"design {design.name}: {why}")


def _not_reached(
    design: DesignFile, operations: tuple[Operation, ...], found: tuple[Instruction, ...]
) -> Iterator[Problem]:
    covered = {operation for instruction in found for operation in instruction.operations}
    wanted = (
        {Kind.REVERT_DISK} if purpose_of(design) is Purpose.LOAD else {Kind.DELETE_DISK_SNAPSHOT}
    )
    for operation in operations:
        if operation.kind in wanted and operation not in covered:
            why = f"no instruction of it does {operation}"
            yield Problem("design-cannot", operation.disk, f"design {design.name}: {why}")
