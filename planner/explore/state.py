"""What a run, its VM and its images are at one moment of an exploration, and what may happen next.

A state is a tuple of numbers, so that it is small, hashes fast, and hashes the same in every process.
Two states that are equal have the same future.
"""

from __future__ import annotations

from typing import NamedTuple

from attrs import frozen

from planner.explore.acts import (
    UNDO_STEPS,
    Act,
    Action,
    Attempt,
    ClientDeath,
    ClientPhase,
    React,
    StreamPlace,
)
from planner.explore.instruction import Instruction
from planner.explore.limits import NO_LIMITS, Limits, LimitsBroken
from planner.model.operations import Kind
from planner.semantics import Qcow2Image

__all__ = [
    "KILLED",
    "UNDO_STEPS",
    "Act",
    "Action",
    "Attempt",
    "ClientDeath",
    "CopyState",
    "ExternalState",
    "ClientPhase",
    "React",
    "Setting",
    "State",
    "StreamPlace",
]

KILLED = 2
"""`State.dead` of a QEMU that died of what the client sent; 1: of a fault."""


class ExternalState(NamedTuple):
    """What there is beside the images that the VM began with: overlays, a stream, settings.

    Attributes:
        frozen: For each disk the number of the image below its overlay; -1: no overlay is on it.  Empty
            where no part is external.
        added: Mask of the disks whose overlay is a node of QEMU's; and of the machine state's own.
        files: Mask of the files that the run made: by disk its overlay's or copy's, then the stream's.
        stream: Where the stream is.
        streamed: The instant of the machine state in it; 0: none yet.
        inactive: Whether the nodes are inactive, as after a migration (fact 29).
        changed: Which of the VM's migration settings are not as they were: 1 capabilities, 2 parameters.
        slow: Whether something was done while the guest stood still that need not be: an overlay made,
            the end of a background stream or of a copy waited for.
    """

    frozen: tuple[int, ...] = ()
    added: int = 0
    files: int = 0
    stream: int = StreamPlace.NONE
    streamed: int = 0
    inactive: bool = False
    changed: int = 0
    slow: bool = False


class CopyState(NamedTuple):
    """What there is of copies of disks: nodes, jobs, and what the files hold.

    Attributes:
        of: By disk the instant of what its copy holds, or will; 0: none was begun.  Empty where no disk
            is copied.
        targets: Mask of the disks whose copy's file is a node of QEMU's.
        jobs: Mask of the disks with a job, at work or failed.
        broken: Mask of those whose job has failed.
        whole: Mask of the disks whose copy is complete.
        stopped: Whether the guest stands since a write of its own failed with the copy (fact 113).
        spoilt: Whether the guest was told of such an error.
    """

    of: tuple[int, ...] = ()
    targets: int = 0
    jobs: int = 0
    broken: int = 0
    whole: int = 0
    stopped: bool = False
    spoilt: bool = False


class State(NamedTuple):
    """One moment.

    Attributes:
        layers: Each disk's image, by number.
        version: The guest's instant: it grows when the guest has worked.
        captured: Whether anything was captured at this instant.  The guest's next work is then
            another instant; else it is the same story with other numbers.
        skipped: (disk, instant) of writes that the guest did not do, or could not.
        running: Whether the guest runs.
        held: The instant of the last pause.
        phase: Where the run is.
        at: The instruction in hand, or next.
        sent: Whether it was sent.
        done: Mask of its operations that are done.
        failing: Whether it has failed.
        stopped: Whether it stopped the guest itself.
        queue: What QEMU does by itself about the failure.
        attempts: What the client knows of each instruction.
        clean: Mask of disks whose part undo has deleted.
        left: Mask of disks whose part undo reports as left.
        left_paused: Whether undo reports that the run state could not be restored.
        dead: Whether QEMU is gone, and of what; 0: it lives.
        sent_stop: Whether something was sent that pauses the guest.
        sent_cont: Whether something was sent that resumes it.
        holds: Whether the client relies on the pause.
        woken: Whether another client resumed the guest in that pause.
        foreign: Mask of disks on which another client made a snapshot of the tag.
        budget: How many faults may still strike.
        outside: Overlays, stream and settings.
        copy: Copies of disks.
        frozen: Whether the guest's file systems are frozen: it writes to no disk.
        unfrozen: Whether something was captured while they were not.
        broken: What breaks the limits that are asked.
    """

    layers: tuple[int, ...]
    version: int
    captured: bool
    skipped: tuple[tuple[int, int], ...]
    running: bool
    held: int
    phase: int
    at: int
    sent: bool
    done: int
    failing: bool
    stopped: bool
    queue: tuple[tuple[int, int], ...]
    attempts: tuple[int, ...]
    clean: int
    left: int
    left_paused: bool
    dead: int
    sent_stop: bool
    sent_cont: bool
    holds: bool
    woken: bool
    foreign: int
    budget: int
    outside: ExternalState = ExternalState()
    copy: CopyState = CopyState()
    frozen: bool = False
    unfrozen: bool = False
    broken: LimitsBroken = LimitsBroken()


@frozen
class Setting:
    """What an exploration is about: it does not change.

    Attributes:
        design: Name of the design.
        tag: What the request calls the snapshot.
        disks: Names of the disks that are parts; the node that machine state has of its own is the last.
        vmstate: Number of the disk that is to hold the machine state; -1: none.
        instructions: In the order in which the client sends them.
        images: The images before the run.
        replaced: (disk, id) of the snapshots that the request gives up.
        runs_before: Whether the guest runs before.
        runs_after: Whether it is to run afterwards.
        faults: How many faults may strike.
        other_clients: Whether other QMP clients act too; what they do counts as a fault.
        undo: The steps of undo that are taken.
        overlays: Mask of the disks whose part is the image below a new overlay.
        capture: How external machine state is captured; empty: there is none.
        own: Number of the node that machine state has of its own among the disks; -1: it has none.
        copies: Mask of the disks whose part is a copy.
        spares_guest: Whether a copy that cannot be written fails alone (fact 113).
        client_death: Whether the client may die, and what comes then.
        limits: What is asked of the pause.
    """

    design: str
    tag: str
    disks: tuple[str, ...]
    vmstate: int
    instructions: tuple[Instruction, ...]
    images: tuple[Qcow2Image, ...]
    replaced: tuple[tuple[int, str], ...] = ()
    runs_before: bool = True
    runs_after: bool = True
    faults: int = 0
    other_clients: bool = False
    undo: frozenset[str] = frozenset(UNDO_STEPS)
    overlays: int = 0
    capture: str = ""
    own: int = -1
    copies: int = 0
    spares_guest: bool = True
    client_death: ClientDeath = ClientDeath.NEVER
    limits: Limits = NO_LIMITS

    @property
    def whole(self) -> int:
        """Mask of all disks."""
        return (1 << len(self.disks)) - 1

    @property
    def of_guest(self) -> tuple[str, ...]:
        """Names of the disks that are the guest's."""
        return self.disks if self.own < 0 else self.disks[: self.own]

    @property
    def written(self) -> int:
        """Mask of the disks that the guest can write to."""
        return (1 << len(self.of_guest)) - 1

    @property
    def stream_file(self) -> int:
        """Number of the stream's file among `ExternalState.files`, and in what undo leaves."""
        return len(self.disks)

    @property
    def settings_left(self) -> int:
        """Number of the migration settings in what undo leaves."""
        return len(self.disks) + 1

    @property
    def thaw_left(self) -> int:
        """Number of the thaw in what undo leaves."""
        return len(self.disks) + 2

    @property
    def freezes(self) -> bool:
        """Whether the guest's file systems are frozen on the way."""
        return any(
            Kind.FREEZE_FILESYSTEMS in instruction.kinds for instruction in self.instructions
        )
