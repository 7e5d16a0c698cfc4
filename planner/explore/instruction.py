"""A design's instructions, laid over the operations of one request.

An instruction is what a client sends as one command.  Nothing of QMP is in it: only which operations
it does, which of them must be done before which, and what becomes of it when it fails.  So a command
that no QEMU has is described as well as one that every QEMU has.

Rules: plain values; `before` has a bit mask for each operation, of the operations of the same
instruction that it comes after.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from attrs import frozen

from planner.model.operations import Kind, Operation
from planner.program.program import Step, WaitsFor

__all__ = [
    "ClientKind",
    "Completion",
    "CopyOf",
    "Finds",
    "SideEffect",
    "OnExistingTag",
    "Instruction",
    "OnFailure",
    "VmstateIn",
    "VmstateOf",
    "any_order",
    "in_order",
    "instruction_of_step",
]


class OnFailure(StrEnum):
    """What a failed instruction leaves."""

    NOTHING = "nothing"
    """It takes back what it did, in reverse."""
    CLEANED_UP = "cleaned-up"
    """It deletes, on each of its disks, the first snapshot of the tag; vmstate stays (facts 7, 12)."""
    WHAT_WAS_DONE = "what-was-done"
    """Everything it did before."""


class OnExistingTag(StrEnum):
    """What an instruction does about a snapshot of the tag that a disk holds already."""

    REFUSE = "refuse"
    """It fails if any of its disks holds one (fact 25)."""
    REFUSE_IF_ALL = "refuse-if-all"
    """It fails only if all of its disks hold one, else it makes a second (fact 7)."""
    OVERWRITE = "overwrite"
    """It deletes what is there first."""


class VmstateIn(StrEnum):
    """Where an instruction writes the vmstate."""

    ACTIVE_LAYER = "active-layer"
    SNAPSHOT = "snapshot"
    """Into the snapshot that was already taken."""


class VmstateOf(StrEnum):
    """Of which moment the machine state is that an instruction writes."""

    WRITE = "write"
    """Of the moment at which it is written."""
    PAUSE = "pause"
    """Of the last pause: the memory was write-protected then."""


class CopyOf(StrEnum):
    """Of which moment the copy of a disk is that an instruction begins."""

    BEGIN = "begin"
    """Of its beginning: what the guest overwrites is copied first (fact 111)."""
    END = "end"
    """Of its end, as a mirror's: what the guest writes meanwhile is in the copy."""


class Completion(StrEnum):
    """How the copies end that an instruction begins."""

    INDIVIDUAL = "individual"
    """Each by itself."""
    GROUPED = "grouped"
    """Together: none is whole before all are, and one that fails or is cancelled ends all (fact 155)."""


class Finds(StrEnum):
    """How an instruction that deletes finds what to delete."""

    ID = "id"
    """By its id: exactly one, or an error (fact 22)."""
    TAG = "tag"
    """The first of the tag, whoever made it; none is a success (fact 22)."""


class ClientKind(StrEnum):
    """How the client of a design treats a failure."""

    CAREFUL = "careful"
    """It looks what was left, undoes it, and says what it cannot undo."""
    DOES_NOT_LOOK = "does-not-look"
    """It undoes by name what it sent, and lets the guest run as before, without a look."""
    DOES_NOT_UNDO = "does-not-undo"
    """It gives up."""


class SideEffect(StrEnum):
    """What an instruction does that is no operation."""

    NONE = "none"
    CREATE_STREAM = "create-stream"
    """Make the stream's file, under a temporary name."""
    START_STREAM = "start-stream"
    """Have QEMU begin the stream; another instruction sees that it has begun."""
    KEEP_STREAM = "keep-stream"
    """Give it its name."""
    CREATE_OVERLAY = "create-overlay"
    """Make an overlay's image; QEMU knows nothing of it yet."""
    CREATE_IMAGE = "create-vmstate-image"
    """Make the image that machine state has of its own; QEMU knows nothing of it yet."""
    REMOVE_NODE = "remove-node"
    """Take the node of that image out of QEMU, when the snapshot is in it."""
    CREATE_COPY = "create-copy"
    """Make a copy's file, with its room; QEMU knows nothing of it yet."""
    REMOVE_TARGET = "remove-target"
    """Take the node of a copy's file out of QEMU, when the copy is whole."""
    KEEP_COPY = "keep-copy"
    """Give that file its name."""
    CHANGE_SETTINGS = "change-settings"
    """Make the VM's migration settings what the capture needs."""
    RESTORE_SETTINGS = "restore-settings"
    """Put them back."""

    @staticmethod
    def settings_bit(command: str) -> int:
        """Which settings a command is about: 1 capabilities, 2 parameters."""
        return 2 if command == "migrate-set-parameters" else 1


@frozen
class Instruction:
    """One command.

    Attributes:
        name: What it is called.
        operations: What it does.
        before: For each operation, the mask of those that come before it.
        atomic: Whether it does all or nothing, as long as QEMU lives.
        stops_guest: Whether it stops a running guest itself, and resumes it when it ends or fails.
        on_failure: What it leaves when it fails.
        existing_tag: What it does about a tag that is there already.
        vmstate_in: Where it writes the vmstate.
        vmstate_of: Of which moment that is.
        waits_for_tracking: Whether a background stream counts as begun only once write tracking is
            seen to be on (fact 40).
        copy_of: Of which moment a copy is that it begins.
        completion: How the copies end that it begins.
        by_tag: Whether it deletes the first snapshot of the tag, whoever made it (fact 22); else the one
            of an id.
        monitor_answers: Whether the monitor answers while it writes machine state (fact 2: it does not).
        leaves_active: Whether the end of a stream leaves the nodes active and the guest as it is.
        effect: What it does besides.
        effect_disk: To which disk.
    """

    name: str
    operations: tuple[Operation, ...]
    before: tuple[int, ...]
    atomic: bool = False
    stops_guest: bool = False
    on_failure: OnFailure = OnFailure.WHAT_WAS_DONE
    existing_tag: OnExistingTag = OnExistingTag.REFUSE
    vmstate_in: VmstateIn = VmstateIn.ACTIVE_LAYER
    vmstate_of: VmstateOf = VmstateOf.WRITE
    waits_for_tracking: bool = False
    copy_of: CopyOf = CopyOf.BEGIN
    completion: Completion = Completion.INDIVIDUAL
    effect: SideEffect = SideEffect.NONE
    effect_disk: str = ""
    by_tag: bool = False
    monitor_answers: bool = False
    leaves_active: bool = False

    @property
    def kinds(self) -> frozenset[Kind]:
        """The kinds of its operations."""
        return frozenset(operation.kind for operation in self.operations)

    @property
    def ordered(self) -> bool:
        """Whether it promises an order between any two of its operations."""
        return any(self.before)

    @property
    def in_stream(self) -> int:
        """Of what is done, the mask that says that its stream is under way; 0: it has none.

        Before that QEMU's main loop works, and hears nobody: nothing half done is to be seen.
        """
        begins = [n for n, o in enumerate(self.operations) if o.kind is Kind.BEGIN_STREAM_VMSTATE]
        if begins:
            return 1 << begins[0]
        ends = any(o.kind is Kind.END_STREAM_VMSTATE for o in self.operations)
        return (1 << len(self.operations)) - 1 if ends else 0

    def disks(self, kind: Kind) -> tuple[str, ...]:
        """The disks that it does something to."""
        return tuple(op.disk for op in self.operations if op.kind is kind)


def in_order(count: int) -> tuple[int, ...]:
    """Each operation after all that stand before it."""
    return tuple((1 << number) - 1 for number in range(count))


def any_order(count: int) -> tuple[int, ...]:
    """No operation after any other."""
    return (0,) * count


def instruction_of_step(step: Step) -> Instruction:
    """What a program's step is to the explorer.

    Its promises are those of the step, which the verifier has held against the command; what its
    failure leaves is the command's own (facts 7, 12 and 24).
    """
    count = len(step.covers)
    save = step.execute == "snapshot-save"
    on_failure = OnFailure.NOTHING if step.atomic else OnFailure.WHAT_WAS_DONE
    return Instruction(
        name=step.execute,
        operations=step.covers,
        before=in_order(count) if step.ordered else any_order(count),
        atomic=step.atomic,
        stops_guest=_has(step.covers, Kind.PAUSE_GUEST) and _has(step.covers, Kind.RESUME_GUEST),
        on_failure=OnFailure.CLEANED_UP if save else on_failure,
        existing_tag=OnExistingTag.REFUSE_IF_ALL if save else OnExistingTag.REFUSE,
        waits_for_tracking=step.waits_for is WaitsFor.TRACKING,
        effect=_effect(step),
        effect_disk=_effect_disk(step) if not count else "",
    )


def _effect_disk(step: Step) -> str:
    ended = _ended_copy(step)
    if ended:
        return ended
    if step.execute == "blockdev-del":
        return str(step.arguments["node-name"])
    return next((undo.disk for undo in step.undo), "")


def _ended_copy(step: Step) -> str:
    """The disk whose copy this step is about, which it follows first of all; empty: it is about none."""
    return next((op.disk for op in step.follows[:1] if op.kind is Kind.END_COPY), "")


def _effect(step: Step) -> SideEffect:
    if step.execute == "blockdev-del":
        return SideEffect.REMOVE_TARGET if _ended_copy(step) else SideEffect.REMOVE_NODE
    if step.execute == "migrate" and not step.covers:
        return SideEffect.START_STREAM
    if step.execute in (
        SideEffect.CREATE_STREAM,
        SideEffect.CREATE_OVERLAY,
        SideEffect.CREATE_IMAGE,
        SideEffect.CREATE_COPY,
        SideEffect.KEEP_STREAM,
        SideEffect.KEEP_COPY,
    ):
        return SideEffect(step.execute)
    if step.execute in ("migrate-set-capabilities", "migrate-set-parameters"):
        return SideEffect.CHANGE_SETTINGS if step.undo else SideEffect.RESTORE_SETTINGS
    return SideEffect.NONE


def _has(operations: Iterable[Operation], kind: Kind) -> bool:
    return any(operation.kind is kind for operation in operations)
