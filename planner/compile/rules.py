"""The ordering rules: which operation must come before which, and why.

Each rule is one small function from the operations of a snapshot to the edges that it demands, with
its reason in one sentence.  To add a rule, write the function and put it into `RULES`; to drop one,
take it out (and see which tests give a counterexample).  The numbers and the worked examples are in
`specs/invariants.md`.

Two rules of `specs/invariants.md` are no edges and so are not here: **no-order-in-a-transaction** is
about instructions (`planner.compile.lower`), **active-before-undo** about undo
(`planner.verify.proof`).

Every function is linear in its operations: ten thousand disks make some thirty thousand edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from attrs import field, frozen

from planner.model.operations import CAPTURES, Kind, Operation
from planner.model.request import Capture

__all__ = ["EDGE_RULE_IDS", "RULES", "Edge", "Operations", "Rule"]

Edge = tuple[Operation, Operation]


@frozen
class Operations:
    """The operations of one snapshot, indexed once for all rules.

    Attributes:
        by_kind: The operations of each kind.
        by_disk: The operations on each disk, by VM and then by disk.
        captures: Every operation that fixes a part of the snapshot at one instant, by VM.
    """

    by_kind: dict[Kind, list[Operation]] = field(factory=dict)
    by_disk: dict[str, dict[str, list[Operation]]] = field(factory=dict)
    captures: dict[str, list[Operation]] = field(factory=dict)

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> Operations:
        """Index operations."""
        self = cls()
        for operation in operations:
            self.by_kind.setdefault(operation.kind, []).append(operation)
            disks = self.by_disk.setdefault(operation.vm, {})
            disks.setdefault(operation.disk, []).append(operation)
            if _is_capture(operation):
                self.captures.setdefault(operation.vm, []).append(operation)
        return self

    def of_kind(self, kind: Kind) -> Sequence[Operation]:
        """All operations of a kind."""
        return self.by_kind.get(kind, ())

    def on_disk(self, kind: Kind, like: Operation) -> list[Operation]:
        """The operations of a kind on the same disk of the same VM."""
        return [found for found in self.by_disk[like.vm][like.disk] if found.kind is kind]

    def on_vm(self, kind: Kind, vm: str) -> Iterator[Operation]:
        """The operations of a kind on one VM."""
        return (operation for operation in self.of_kind(kind) if operation.vm == vm)


def _is_capture(operation: Operation) -> bool:
    # A background capture saves the instant at which it begins, the others that at which they end
    # (facts 30 and 39).
    if operation.kind is Kind.BEGIN_STREAM_VMSTATE:
        return operation.detail == Capture.BACKGROUND
    if operation.kind is Kind.END_STREAM_VMSTATE:
        return operation.detail != Capture.BACKGROUND
    return operation.kind in CAPTURES


@frozen
class Rule:
    """An ordering rule.

    Attributes:
        id: Stable identifier, quoted in plans and error texts.
        reason: Why the order matters, in one sentence.
        edges: From operations to pairs (what comes first, what comes after).
    """

    id: str
    reason: str
    edges: Callable[[Operations], Iterator[Edge]]


def _vmstate_before_snapshot(operations: Operations) -> Iterator[Edge]:
    # WriteVmstate(disk0) -> SnapshotDisk(disk0); SnapshotDisk(disk1) is free.
    for write in operations.of_kind(Kind.WRITE_VMSTATE):
        for snapshot in operations.on_disk(Kind.SNAPSHOT_DISK, write):
            yield write, snapshot


def _snapshot_before_discard(operations: Operations) -> Iterator[Edge]:
    # SnapshotDisk(disk0) -> DiscardVmstate(disk0).
    for discard in operations.of_kind(Kind.DISCARD_VMSTATE):
        for snapshot in operations.on_disk(Kind.SNAPSHOT_DISK, discard):
            yield snapshot, discard
        for write in operations.on_disk(Kind.WRITE_VMSTATE, discard):
            yield write, discard


def _one_instant(operations: Operations) -> Iterator[Edge]:
    # PauseGuest -> WriteVmstate(disk0), SnapshotDisk(disk0), SnapshotDisk(disk1) -> ResumeGuest.
    # A stopped stream begins inside the pause too, a live one before it (facts 29 and 30).
    for pause in operations.of_kind(Kind.PAUSE_GUEST):
        for capture in operations.captures.get(pause.vm, ()):
            yield pause, capture
        for resume in operations.on_vm(Kind.RESUME_GUEST, pause.vm):
            yield pause, resume
        for begin in operations.on_vm(Kind.BEGIN_STREAM_VMSTATE, pause.vm):
            if begin.detail == Capture.STOPPED:
                yield pause, begin
            elif begin.detail == Capture.LIVE:
                yield begin, pause
    for resume in operations.of_kind(Kind.RESUME_GUEST):
        for capture in operations.captures.get(resume.vm, ()):
            if capture.kind is not Kind.BEGIN_STREAM_VMSTATE:  # tracking-before-resume's business
                yield capture, resume


def _overlay_ready(operations: Operations) -> Iterator[Edge]:
    # AddOverlay(vars0) -> PauseGuest, AddOverlay(vars0) -> SwitchToOverlay(vars0); AddTarget likewise.
    for add in (*operations.of_kind(Kind.ADD_OVERLAY), *operations.of_kind(Kind.ADD_TARGET)):
        for kind in (Kind.SWITCH_TO_OVERLAY, Kind.BEGIN_COPY):
            for capture in operations.on_disk(kind, add):
                yield add, capture
        for pause in operations.on_vm(Kind.PAUSE_GUEST, add.vm):
            yield add, pause
    # AddVmstateNode(n) -> PauseGuest, AddVmstateNode(n) -> WriteVmstate(n).
    for add in operations.of_kind(Kind.ADD_VMSTATE_NODE):
        for write in operations.on_disk(Kind.WRITE_VMSTATE, add):
            yield add, write
        for pause in operations.on_vm(Kind.PAUSE_GUEST, add.vm):
            yield add, pause


def _nodes_active(operations: Operations) -> Iterator[Edge]:
    # BeginStreamVmstate -> EndStreamVmstate, SnapshotDisk(disk0) -> EndStreamVmstate.
    for end in operations.of_kind(Kind.END_STREAM_VMSTATE):
        for begin in operations.on_vm(Kind.BEGIN_STREAM_VMSTATE, end.vm):
            yield begin, end
        for snapshot in operations.on_vm(Kind.SNAPSHOT_DISK, end.vm):
            yield snapshot, end


def _tracking_before_resume(operations: Operations) -> Iterator[Edge]:
    # BeginStreamVmstate(background) -> ResumeGuest.
    for begin in operations.of_kind(Kind.BEGIN_STREAM_VMSTATE):
        if begin.detail == Capture.BACKGROUND:
            for resume in operations.on_vm(Kind.RESUME_GUEST, begin.vm):
                yield begin, resume


def _stream_after_resume(operations: Operations) -> Iterator[Edge]:
    # ResumeGuest -> EndStreamVmstate(background).
    for end in operations.of_kind(Kind.END_STREAM_VMSTATE):
        if end.detail == Capture.BACKGROUND:
            for resume in operations.on_vm(Kind.RESUME_GUEST, end.vm):
                yield resume, end


def _copy_after_resume(operations: Operations) -> Iterator[Edge]:
    # BeginCopy(disk1), ResumeGuest, ThawFilesystems -> EndCopy(disk1).
    for end in operations.of_kind(Kind.END_COPY):
        for begin in operations.on_disk(Kind.BEGIN_COPY, end):
            yield begin, end
        for kind in (Kind.RESUME_GUEST, Kind.THAW_FILESYSTEMS):
            for goes_on in operations.on_vm(kind, end.vm):
                yield goes_on, end


def _frozen_capture(operations: Operations) -> Iterator[Edge]:
    # AddOverlay(vars0), DeleteDiskSnapshot(disk0) -> FreezeFilesystems -> PauseGuest,
    # SnapshotDisk(disk0), SwitchToOverlay(vars0), ResumeGuest -> ThawFilesystems.
    for freeze in operations.of_kind(Kind.FREEZE_FILESYSTEMS):
        for kind in (Kind.ADD_OVERLAY, Kind.ADD_TARGET, Kind.DELETE_DISK_SNAPSHOT):
            for slow in operations.on_vm(kind, freeze.vm):
                yield slow, freeze
        for capture in operations.captures.get(freeze.vm, ()):
            yield freeze, capture
        for pause in operations.on_vm(Kind.PAUSE_GUEST, freeze.vm):
            yield freeze, pause  # the agent works only while its guest runs
    for thaw in operations.of_kind(Kind.THAW_FILESYSTEMS):
        for capture in operations.captures.get(thaw.vm, ()):
            yield capture, thaw
        for before in (Kind.FREEZE_FILESYSTEMS, Kind.RESUME_GUEST):
            for operation in operations.on_vm(before, thaw.vm):
                yield operation, thaw


def _old_until_new(operations: Operations) -> Iterator[Edge]:
    # Replacing on request: AddOverlay(vars0) -> DeleteDiskSnapshot(disk0, id 3) -> PauseGuest and
    # SnapshotDisk(disk0).  QEMU keeps no two snapshots of one name apart (facts 7 and 25), so what the
    # request gives up has to go first, once all that can fail before it is done; nothing else is ever
    # deleted by a save.
    for delete in operations.of_kind(Kind.DELETE_DISK_SNAPSHOT):
        for snapshot in operations.on_disk(Kind.SNAPSHOT_DISK, delete):
            yield delete, snapshot
        for write in operations.on_disk(Kind.WRITE_VMSTATE, delete):
            yield delete, write
        for pause in operations.on_vm(Kind.PAUSE_GUEST, delete.vm):
            yield delete, pause
        for kind in (Kind.ADD_OVERLAY, Kind.ADD_VMSTATE_NODE, Kind.ADD_TARGET):
            for add in operations.on_vm(kind, delete.vm):
                yield add, delete


RULES: tuple[Rule, ...] = (
    Rule(
        "vmstate-before-snapshot",
        "the snapshot takes along the vmstate that the active layer holds",
        _vmstate_before_snapshot,
    ),
    Rule(
        "snapshot-before-discard",
        "the vmstate must leave the active layer only once the snapshot holds it",
        _snapshot_before_discard,
    ),
    Rule(
        "one-instant",
        "parts captured while the guest runs belong to different instants",
        _one_instant,
    ),
    Rule("overlay-ready", "nothing slow may happen while the guest is paused", _overlay_ready),
    Rule(
        "nodes-active",
        "the nodes go inactive when a migration ends, and cannot be snapshotted then (fact 29)",
        _nodes_active,
    ),
    Rule(
        "tracking-before-resume",
        "a guest resumed before write tracking is on is saved at a later instant (fact 40)",
        _tracking_before_resume,
    ),
    Rule(
        "stream-after-resume",
        "to wait for the end of a background stream with the guest paused would undo its purpose",
        _stream_after_resume,
    ),
    Rule(
        "copy-after-resume",
        "to wait for a copy with the guest paused or frozen would undo its purpose",
        _copy_after_resume,
    ),
    Rule(
        "frozen-capture",
        "what is captured while the file systems are not frozen is what a power cut leaves",
        _frozen_capture,
    ),
    Rule(
        "old-until-new",
        "what the request replaces goes before the pause; nothing else is deleted",
        _old_until_new,
    ),
)

EDGE_RULE_IDS = tuple(rule.id for rule in RULES)
