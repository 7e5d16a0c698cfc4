"""Deletes a snapshot's parts, without I/O: the machine of `snapplan delete`.

Nothing undoes a deletion, so it can only be finished: parts go one by one, by id and name, and what
became of a deletion whose answer was lost is looked at before it is sent again.  What can fail comes
first: overlays are merged back before anything is deleted (`planner.delete.merging`).  Killed at any
point it leaves parts that are whole or gone, and another delete of the same manifest goes on from there.
The manifest goes last, and not by this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from attrs import define, field, frozen

from planner.delete.delete_checks import DeletedPart, DeletePlan
from planner.delete.merging import MERGE_TIMEOUT_S, MergeStage, Merging
from planner.errors import Problem
from planner.model.facts import SnapshotInfo
from planner.model.replies import snapshots_of
from planner.parts.deletions import MergedOverlay, unproved
from planner.run.actions import (
    ErrorReply,
    Flow,
    HostDo,
    ListImage,
    NoAnswer,
    NotSent,
    RepairImage,
    Response,
    Returned,
    Send,
    Tell,
)
from planner.run.conversation import GRACE_S, ROUNDS, Gone, Silent, StepFailed
from planner.run.machine import Machine
from planner.run.observation import Baseline
from planner.run.outcome import Failure, Outcome, failure_of
from planner.run.phases import Phase
from planner.run.run_context import RunContext

__all__ = ["DELETION", "DeleteMachine", "DeleteOutcome"]

_SAID = "QEMU says: "
_NOTHING_THERE = "does not exist"
DELETION = "blockdev-snapshot-delete-internal-sync"
"""Deletes one internal part."""


@frozen
class DeleteOutcome(Outcome):
    """The end of a delete.

    Attributes:
        deleted: Disks whose parts are gone by this run.
        copied_to: Frozen images that may have been written to, though their overlays are not merged.
    """

    deleted: tuple[str, ...] = ()
    copied_to: tuple[str, ...] = ()

    def _vm_state(self) -> str:
        state = f"The VM is {self.run_state}. " if self.run_state else ""
        if self.deleted:
            return (
                f"{state}Deleted on {', '.join(self.deleted)}; the snapshot cannot be loaded any more. "
                "Delete it again to finish."
            )
        if self.copied_to:
            return (
                f"{state}Nothing was deleted, and the guest's disks are whole. Some of what the guest "
                f"wrote since may be in {', '.join(self.copied_to)}: the snapshot cannot be loaded any "
                "more. Delete it again to finish."
            )
        return f"{state}Nothing was deleted."


def _clock_of(told: object) -> int | None:
    """The vm-clock of the snapshot that an answer is about; None: it does not say."""
    if not isinstance(told, Mapping):
        return None
    seconds, ns = told.get("vm-clock-sec"), told.get("vm-clock-nsec")
    if not isinstance(seconds, int) or not isinstance(ns, int):
        return None
    return seconds * 1_000_000_000 + ns


def _context_of(order: DeletePlan) -> RunContext:
    baseline = Baseline(
        nodes={part.disk: part.node for part in order.parts},
        roots={part.disk: part.root for part in order.parts},
        filenames={part.disk: part.file for part in order.parts},
        ids={},
        run_state="",
    )
    return RunContext(baseline, connected=not order.offline)


@define
class DeleteMachine(Machine):
    """One delete.

    Attributes:
        order: What to delete; it passed the preflight.
    """

    order: DeletePlan = field(kw_only=True)
    _deleted: list[str] = field(init=False, factory=list)
    _kept: dict[str, str] = field(init=False, factory=dict)
    _merging: Merging = field(init=False)
    _shown: Mapping[str, tuple[SnapshotInfo, ...]] | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        merges = () if self.order.offline else self.order.merges
        self._merging = Merging(merges, self.context)

    @classmethod
    def of(cls, order: DeletePlan) -> DeleteMachine:
        """A delete of this order."""
        return cls(_context_of(order), order=order)

    def _run(self) -> Flow[Outcome]:
        self.context.go(Phase.STEPPING)
        if not (self.order.parts or self.order.merges or self.order.streams):
            yield Tell("all its parts are gone already")
        failure = yield from self._delete_all()
        if failure is None:
            self.context.go(Phase.CONFIRMING)
            self.context.go(Phase.DONE)
        else:
            yield Tell(f"failed: {failure.where}: {failure.message}")
            self.context.go(Phase.INSPECTING)
            self.context.go(Phase.UNDOING)
            self.context.go(Phase.RESTORING)
            begun = bool(self._deleted or self._kept or self._merging.begun)
            self.context.go(Phase.INCOMPLETE if begun else Phase.UNDONE)
        return DeleteOutcome(
            self.context.phase,
            self._merging.run_state,
            failure=failure,
            left=() if failure is None else self._left(),
            events=tuple(self.context.pauses),
            deleted=tuple(self._deleted),
            copied_to=tuple(
                merge.base_file
                for merge in self._merging.of_stage(MergeStage.COPYING, MergeStage.SWITCHING)
            ),
        )

    def _delete_all(self) -> Flow[Failure | None]:
        failure: Failure | None = None
        try:
            yield from self._each_step()
        except StepFailed as failed:
            failure = failed.failure
        except Gone:
            self._merging.run_state = "gone"
            self._kept = yield from self._merging.settle_dead()
            words = "QEMU is gone; delete again with --offline"
            failure = Failure("vm-gone", self.context.where, words)
        except Silent as silent:
            failure = Failure("vm-silent", self.context.where, silent.why)
        except Exception as error:  # noqa: BLE001 - a reply that nobody thought of, or a bug
            failure = failure_of(error, self.context.where)
        removed = [m.disk for m in self._merging.of_stage(MergeStage.REMOVED)]
        self._deleted = [*removed, *(d for d in self._deleted if d not in removed)]
        return failure

    def _each_step(self) -> Flow[None]:
        order, self._shown = self.order, None
        steps: list[tuple[str, str, Callable[[], Flow[None]]]] = []
        if order.offline:
            steps += [(m.disk, f"merge on {m.disk}", partial(self._merge, m)) for m in order.merges]
        elif order.merges:
            disks = ", ".join(merge.disk for merge in order.merges)
            steps.append(("", f"merge on {disks}", self._merging.run))
        steps += [(file, f"remove {file}", partial(self._remove, file)) for file in order.streams]
        steps += [(p.disk, f"delete on {p.disk}", partial(self._delete, p)) for p in order.parts]
        for number, (subject, what, step) in enumerate(steps, start=1):
            yield Tell(what, number, len(steps))
            self.context.where = f"step {number} of {len(steps)} ({what})"
            self.context.check_wishes()
            yield from step()
            self._deleted += [subject] if subject else []

    def _host(
        self, instruction: str, arguments: dict[str, object], code: str = "file-left"
    ) -> Flow[None]:
        """Something with files; each of them may be done twice."""
        response = yield HostDo(instruction, arguments, MERGE_TIMEOUT_S)
        if isinstance(response, ErrorReply):
            raise self.context.failed(code, response.description)
        if isinstance(response, NoAnswer):
            raise self.context.failed("file-left", f"it may still be there: {response.why}")

    def _remove(self, file: str) -> Flow[None]:
        folder, _, name = file.rpartition("/")
        temporary = f"{folder}/.{name}.snapplan"
        yield from self._host(
            "remove-stream", {"path": file, "temporary": temporary, "named": True}
        )

    def _merge(self, merge: MergedOverlay) -> Flow[None]:
        """Offline; what cannot be proved to be unmerged is kept."""
        arguments = {**merge.for_the_host, **merge.evidence}
        try:
            yield from self._host("merge-overlay", arguments, "overlay-left")
        except StepFailed as failed:
            self._kept[merge.disk] = failed.failure.message
            raise

    def _delete(self, part: DeletedPart) -> Flow[None]:
        """Delete until it is known to be gone; what was not done, or not answered, is looked at anew."""
        why = ""
        for _ in range(ROUNDS + 1):
            held = yield from self._held(part)
            if not self._is_there(part, held):
                self._check_gone(why)
                return
            if why.startswith(_SAID):
                raise self.context.failed("command-refused", why)
            response = yield self._deletion(part)
            if isinstance(response, Returned):
                self._check_deleted(part, response.value)
                return
            self._shown = None
            self.context.note_lost(response)
            if isinstance(response, NoAnswer):
                why = response.why
            else:
                said = "" if isinstance(response, NotSent) else _SAID
                why = said + response.description
        raise self.context.failed(
            "part-left", f"it is still there: {why or 'QEMU gives no reason'}"
        )

    def _check_gone(self, why: str) -> None:
        """QEMU shows a snapshot no more whose deletion failed, though its image has it (fact 140)."""
        if why.startswith(_SAID) and not self.order.offline and _NOTHING_THERE not in why:
            words = (
                f"{why}; QEMU shows it no more, and its image may still have it: shut the VM down; then "
                "delete it with --offline, or when the VM was started again"
            )
            raise self.context.failed("part-left", words)

    def _held(self, part: DeletedPart) -> Flow[tuple[SnapshotInfo, ...]]:
        """What its image holds.  QEMU shows all images at once, so it is asked once for all of them."""
        if not self.order.offline:
            if self._shown is None:
                nodes = yield from self.context.ask("query-named-block-nodes", {"flat": True})
                self._shown = snapshots_of(nodes)
            return self._shown.get(part.node, ())
        response: Response = yield ListImage(part.file)
        if isinstance(response, Returned):
            return cast("tuple[SnapshotInfo, ...]", response.value)
        why = response.why if isinstance(response, NoAnswer) else response.description
        raise self.context.failed("image-unreadable", f"{part.file} cannot be looked at: {why}")

    def _check_deleted(self, part: DeletedPart, told: object) -> None:
        """QEMU tells what it deleted: no other client's, made since under the same id and tag."""
        clock_ns = _clock_of(told)
        if clock_ns not in (None, part.vm_clock_ns):
            words = (
                f"another client had put its own snapshot {part.snapshot_id} {self.order.tag!r} in its "
                "place, and that one is deleted (fact 15)"
            )
            raise self.context.failed("part-differs", words)

    def _is_there(self, part: DeletedPart, held: tuple[SnapshotInfo, ...]) -> bool:
        # qcow2 gives ids again: of another instant, it is another client's, and ours is gone.
        wanted = (part.snapshot_id, self.order.tag, part.vm_clock_ns)
        return any((found.id, found.name, found.vm_clock_ns) == wanted for found in held)

    def _deletion(self, part: DeletedPart) -> Send | RepairImage:
        if not self.order.offline:
            ident = {"id": part.snapshot_id, "name": self.order.tag}
            return Send(DELETION, {"device": part.root, **ident}, GRACE_S)
        return RepairImage(part.file, self.order.tag, part.snapshot_id)

    def _left(self) -> tuple[Problem, ...]:
        again = "delete the snapshot again"
        left = [
            *((file, "it may still be there") for file in self.order.streams),
            *(
                (part.disk, f"snapshot {part.snapshot_id} {self.order.tag!r} may still be there")
                for part in self.order.parts
            ),
        ]
        if self.order.offline:
            left += [
                (m.disk, f"{m.overlay_file} may still be there")
                for m in self.order.merges
                if m.disk not in self._kept
            ]
        kept = [
            unproved(merge, self._kept[merge.disk])
            for merge in self.order.merges
            if merge.disk in self._kept
        ]
        merging = [each for each in self._merging.left() if each.subject not in self._kept]
        rest = (
            Problem("part-left", subject, words, again)
            for subject, words in left
            if subject not in self._deleted
        )
        return (*kept, *merging, *rest)
