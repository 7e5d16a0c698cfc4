"""Merges overlays back into their frozen images while the guest runs: `block-commit`.

    copy, all disks - stop - note the file and complete, each disk - remove the files - cont

QEMU shows all disks at once, so it is asked once for all of them: before the first copy, and when all
are completed.

Nothing of the snapshot is deleted before this has ended well: it is what can fail.

QEMU copies what an overlay holds, reports `ready` when the two are equal but for what comes in just
now, and puts the image back in the overlay's place on `job-complete`.  From then on the overlay is
stale: merged once more, over what the guest has written to the image since, it would destroy that.  So
the guest is held from before the first `job-complete` until the last overlay is unlinked: whoever dies
in between, overlay and image read the same, whether they were merged or not.  While the guest stands
the journal is told what file the overlay is (`note-overlay`); once QEMU has let go of it, it is removed
if it is still just that file, and never merged.

A storage daemon has no guest that could be held (fact 120).  What it serves is written to meanwhile, so
there the file is noted once more when it is merged.  Should snapplan and the daemon both die between the
two, nothing is proved, and the overlay is kept and named.

Where QEMU is gone and the journal does not know how a merge ended, the files decide (`settle_dead`): an
overlay is merged where it was written to after its image, removed where both read the same, and
otherwise kept and named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from attrs import define, field

from planner.delete.merge_stages import MergeStage
from planner.errors import Problem
from planner.model.disk_replies import DiskReplies, disks_of
from planner.model.facts import JobInfo
from planner.model.image import images_of_nodes
from planner.model.replies import job_of
from planner.parts.deletions import MergedOverlay, unproved
from planner.run.actions import AwaitEvent, ErrorReply, Flow, HostDo, NoAnswer, Returned, Tell
from planner.run.conversation import Gone, Silent, StepFailed
from planner.run.jobs import merge_arguments
from planner.run.run_context import JOB_ENDS, RunContext

__all__ = ["MERGE_TIMEOUT_S", "Merging", "MergeStage"]

MERGE_TIMEOUT_S = 3600.0
_POLL_S = 0.1
_POLLS = 36_000
_BEGINNINGS = 3
_FLAT = {"flat": True}


@define
class Merging:
    """The merges of one delete on a running VM.

    Attributes:
        merges: Which.
        context: What is known of the VM.
        stages: By disk, how far it has come.
        run_state: The VM's, as last seen; empty: not asked.
    """

    merges: tuple[MergedOverlay, ...]
    context: RunContext
    stages: dict[str, MergeStage] = field(init=False)
    run_state: str = field(init=False, default="")
    _seen: dict[str, Mapping[str, object]] = field(init=False, factory=dict)
    _held: bool = field(init=False, default=False)
    _unheld: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self.stages = dict.fromkeys((merge.disk for merge in self.merges), MergeStage.UNTOUCHED)

    def of_stage(self, *stages: MergeStage) -> tuple[MergedOverlay, ...]:
        """The merges that stand in one of these stages."""
        return tuple(merge for merge in self.merges if self.stages[merge.disk] in stages)

    @property
    def begun(self) -> bool:
        """Whether any frozen image may have been written to."""
        return any(stage is not MergeStage.UNTOUCHED for stage in self.stages.values())

    # --- on a running VM ------------------------------------------------------------------------

    def run(self) -> Flow[None]:
        """Merge all of them and remove their files; the guest runs on as before.

        Raises:
            StepFailed: Not done; the guest runs as before on whole disks, and no job is left.
        """
        if not self.merges:
            return
        try:
            on_top = yield from self._on_top(self.merges)
            for merge in self.merges:
                yield from self._copy(merge, seen=merge in on_top)
            self.context.check_wishes()
            yield from self._hold()
            yield from self._switch()
        except (Gone, Silent):
            raise
        except Exception:
            yield from self._cancel()
            yield from self._let_go()
            raise
        yield from self._let_go()

    def _copy(self, merge: MergedOverlay, *, seen: bool) -> Flow[None]:
        """Begin the job where there is none (`seen`: the overlay is on the disk), until it is ready."""
        begun = 0
        for _ in range(_POLLS):
            job, error = yield from self._job(merge)
            if job is None:
                if begun == _BEGINNINGS or not (seen or (yield from self._on_top((merge,)))):
                    raise self._vanished(merge)
                seen = False
                begun += 1
                yield from self._begin(merge)
            elif job.status == "ready":
                return
            elif job.status in JOB_ENDS:
                # Somebody else has ended it: cancelled, or completed in our place.
                yield from self._dismiss(merge, error)
            else:
                yield from self._wait()
            self.context.check_wishes()
        raise self.context.failed("deadline-passed", f"job {merge.job_id} does not become ready")

    def _begin(self, merge: MergedOverlay) -> Flow[None]:
        before = self.stages[merge.disk]
        self.stages[merge.disk] = MergeStage.COPYING
        arguments = merge_arguments(merge.job_id, merge.device, merge.base, merge.overlay)
        response = yield from self.context.once("block-commit", arguments)
        if isinstance(response, ErrorReply):
            self.stages[merge.disk] = before
            raise self.context.refused(response)

    def _hold(self) -> Flow[None]:
        """Have the guest stand still until every overlay is unlinked."""
        self.run_state = yield from self.context.run_state()
        if self.run_state == "running":
            self._held = True
            try:
                self.run_state = yield from self.context.bring_to("stop", "paused")
            except StepFailed as failed:
                if failed.failure.code != "command-lacking":
                    raise
                self._held, self._unheld = False, True

    def _switch(self) -> Flow[None]:
        """Put each image in its overlay's place, record that, and remove the overlays.

        What fails at one of them stops no other that was completed: the guest stands still, and an
        overlay that is merged must go before it writes again.
        """
        failures: list[StepFailed] = []
        completed: list[MergedOverlay] = []
        for merge in self.merges:
            files: dict[str, object] = {"path": merge.overlay_file, "base": merge.base_file}
            try:
                self._seen[merge.disk] = yield from self._host("note-overlay", files)
                yield from self._complete(merge)
                if self._unheld:
                    self._seen[merge.disk] = yield from self._host("note-overlay", files)
            except StepFailed as failed:
                failures.append(failed)
                break
            completed.append(merge)
        on_disk = (yield from self._on_top(completed)) if completed else ()
        for merge in on_disk:
            self.stages[merge.disk] = MergeStage.COPYING
            words = f"another client ended job {merge.job_id}; the overlay is on the disk"
            failures.append(self.context.failed("job-vanished", words))
        yield from self._release([m for m in completed if m not in on_disk], failures)
        if failures:
            raise failures[0]

    def _release(self, merges: list[MergedOverlay], failures: list[StepFailed]) -> Flow[None]:
        """Take the overlays' nodes out of QEMU, which stay behind out of the chain, and their files."""
        still_open, why = merges, dict.fromkeys((merge.disk for merge in merges), "")
        names = {merge.disk: merge.overlay for merge in merges}
        for _ in range(_BEGINNINGS):
            wanted = [merge for merge in still_open if not why[merge.disk]]
            if not wanted:
                break
            for merge in wanted:
                which = {"node-name": names[merge.disk]}
                response = yield from self.context.once("blockdev-del", which)
                if isinstance(response, ErrorReply):
                    why[merge.disk] = self.context.refused(response).failure.message
            nodes = images_of_nodes((yield from self.context.ask("query-named-block-nodes", _FLAT)))
            still_open = [merge for merge in merges if merge.overlay_file in nodes]
            for merge in still_open:
                left = nodes[merge.overlay_file].node  # a protocol node that the user named
                if left != names[merge.disk]:
                    names[merge.disk], why[merge.disk] = left, ""
        for merge in merges:
            self.stages[merge.disk] = MergeStage.MERGED
            if merge in still_open:
                words = f"{merge.overlay_file} is merged, and QEMU keeps it open: "
                words += why[merge.disk] or "QEMU gives no reason"
                failures.append(self.context.failed("overlay-left", words))
                continue
            try:
                yield from self._remove(merge)
            except StepFailed as failed:
                failures.append(failed)

    def _complete(self, merge: MergedOverlay) -> Flow[None]:
        told = False
        for _ in range(_POLLS):
            job, error = yield from self._job(merge)
            if job is None:
                raise self._vanished(merge)
            if job.status in JOB_ENDS:
                yield from self._dismiss(merge, error)
                return
            if job.status == "ready" and not told:
                self.stages[merge.disk] = MergeStage.SWITCHING
                response = yield from self.context.once("job-complete", {"id": merge.job_id})
                told = isinstance(response, Returned)
                continue
            yield from self._wait()
        raise self.context.failed("deadline-passed", f"job {merge.job_id} does not end")

    def _remove(self, merge: MergedOverlay) -> Flow[None]:
        files = {"path": merge.overlay_file, "base": merge.base_file}
        yield from self._host("remove-merged", {**files, "seen": self._seen[merge.disk]})
        self.stages[merge.disk] = MergeStage.REMOVED

    def _let_go(self) -> Flow[None]:
        if self._held:
            self._held = False
            self.run_state = yield from self.context.bring_to("cont", "running")

    def _cancel(self) -> Flow[None]:
        """End the jobs of what is not merged: the overlays stay on their disks (fact 55)."""
        for merge in self.of_stage(MergeStage.COPYING, MergeStage.SWITCHING):
            sent = False
            for _ in range(_POLLS):
                job, _error = yield from self._job(merge)
                if job is None:
                    break
                if job.status in JOB_ENDS:
                    yield from self._dismiss(merge, "")
                    if (yield from self._on_top((merge,))):
                        self.stages[merge.disk] = MergeStage.COPYING
                    break
                if not sent:
                    yield from self.context.once("job-cancel", {"id": merge.job_id})
                    sent = True
                else:
                    yield from self._wait()

    def _vanished(self, merge: MergedOverlay) -> StepFailed:
        words = (
            f"job {merge.job_id} is gone, and it is not known whether {merge.overlay_file} was merged "
            f"into {merge.base_file}"
        )
        if self.stages[merge.disk] is MergeStage.UNTOUCHED:
            words = f"{merge.overlay_file} is not on the disk any more since it was checked"
            return self.context.failed("vm-changed", words)
        self.stages[merge.disk] = MergeStage.SWITCHING
        return self.context.failed("job-vanished", words)

    def _dismiss(self, merge: MergedOverlay, error: str) -> Flow[None]:
        for _ in range(_BEGINNINGS):
            response = yield from self.context.once("job-dismiss", {"id": merge.job_id})
            if not isinstance(response, NoAnswer) or (yield from self._job(merge))[0] is None:
                break
        if error:
            self.stages[merge.disk] = MergeStage.COPYING
            raise self.context.failed("job-failed", f"QEMU says: {error}")

    def _job(self, merge: MergedOverlay) -> Flow[tuple[JobInfo | None, str]]:
        return job_of((yield from self.context.ask("query-jobs")), merge.job_id)

    def _on_top(self, merges: Sequence[MergedOverlay]) -> Flow[tuple[MergedOverlay, ...]]:
        """Which of them are the guest's disks still; an overlay's node alone says nothing."""
        replies = DiskReplies(
            named_block_nodes=(yield from self.context.ask("query-named-block-nodes", _FLAT)),
            block=(yield from self.context.ask("query-block")),
            blockstats=(yield from self.context.ask("query-blockstats")),
        )
        disks = disks_of(replies)[0]
        attached = {disk.filename for disk in disks if disk.attached}
        # The node of a merged overlay that the user named stands alone until it is deleted.
        alone = {disk.filename for disk in disks if not disk.attached}
        return tuple(
            merge
            for merge in merges
            if merge.overlay_file in attached
            or (merge.overlay_file in alone and merge.base_file not in attached)
        )

    def _wait(self) -> Flow[None]:
        response = yield AwaitEvent(_POLL_S)
        if isinstance(response, NoAnswer):
            self.context.connected = self.context.connected and not response.lost

    def _host(self, instruction: str, arguments: dict[str, object]) -> Flow[Mapping[str, object]]:
        """Something with files; each of them may be done twice."""
        response = yield HostDo(instruction, arguments, MERGE_TIMEOUT_S)
        if isinstance(response, Returned):
            return cast("Mapping[str, object]", response.value)
        if isinstance(response, NoAnswer):
            raise self.context.failed("file-left", f"it may still be there: {response.why}")
        raise self.context.failed("file-left", response.description)

    # --- where QEMU is gone -----------------------------------------------------------------------

    def settle_dead(self) -> Flow[dict[str, str]]:
        """Bring what was begun to its end without QEMU; what cannot be is kept.

        Returns:
            By disk, why its overlay is kept.
        """
        kept = {}
        for merge in self.of_stage(MergeStage.COPYING, MergeStage.SWITCHING, MergeStage.MERGED):
            try:
                yield from self._settle_dead(merge)
            except StepFailed as failed:
                kept[merge.disk] = failed.failure.message
                yield Tell(f"{merge.overlay_file} is kept: {failed.failure.message}")
        return kept

    def _settle_dead(self, merge: MergedOverlay) -> Flow[None]:
        stage = self.stages[merge.disk]
        if stage is MergeStage.MERGED:
            yield from self._remove(merge)
            return
        # Told to complete, QEMU may have written to the overlay last when it was merged already.
        instruction = "merge-overlay" if stage is MergeStage.COPYING else "remove-if-equal"
        yield from self._host(instruction, merge.for_the_host)
        self.stages[merge.disk] = MergeStage.REMOVED

    def left(self) -> Iterator[Problem]:
        """What is still there of merges that did not come to their end."""
        for merge in self.of_stage(MergeStage.COPYING, MergeStage.UNTOUCHED):
            words = f"{merge.overlay_file} is still on {merge.base_file}: it is not merged"
            yield Problem("part-left", merge.disk, words, "delete the snapshot again")
        for merge in self.of_stage(MergeStage.SWITCHING):
            yield unproved(merge, "it is not known whether it was merged")
        for merge in self.of_stage(MergeStage.MERGED):
            words = f"{merge.overlay_file} is merged into {merge.base_file}, and still there"
            remedy = "remove it; do not start QEMU on it, nor merge it again; then delete again"
            yield Problem("file-left", merge.disk, words, remedy)
