"""Undoes what a run did beside internal parts: the stream, overlays, a node of its own, settings, files.

Rules: the stream ends first, and the nodes are active again before anything touches them (fact 35:
QEMU aborts otherwise); an overlay that is on its disk is merged into its base, since the guest may have
written to it.  Its end is taken while the guest stands, so that overlay and base are the same until the
end is known: should QEMU die meanwhile, merging once more loses nothing, and later it is not done any
more (the overlay is older than the base then).  The VM's settings can be put back only without a stream
(fact 34); files go last.
"""

from __future__ import annotations

import hashlib

from planner.errors import Problem
from planner.model.replies import job_of, migration_of, run_state_of, snapshots_of
from planner.model.request import Capture
from planner.program.program import DESCRIPTOR_NAME, Program, Step, UndoKind
from planner.program.resolution import Overlay, Transport, VmstateNode
from planner.run.actions import (
    AwaitEvent,
    ErrorReply,
    Flow,
    HostDo,
    Response,
    Returned,
    Send,
    Tell,
)
from planner.run.conversation import GRACE_S, lacks_command
from planner.run.jobs import merge_arguments
from planner.run.migrating import forget_error, put_settings
from planner.run.observation import bind_node
from planner.run.run_context import RunContext
from planner.run.waits import ENDED_MIGRATION
from planner.save.left_files import left_file

__all__ = ["UndoExternal"]

_POLL_S = 0.05
_POLLS = 2400
"""Two minutes: how long a cancelled stream or a merging overlay may take to end."""
_FREE_EVERY_POLLS = 20
"""A second: how long a stream may stay `cancelling` before it is seen to (fact 57)."""
_ACTIVATE_POLLS = 200
_MERGE_TIMEOUT_S = 600.0


class UndoExternal:
    """Undoes the external side of one run.

    Args:
        program: What was run.
        context: What is known of it.
        undone: Is told what was undone, in words.
        left: Is told what could not be.
    """

    def __init__(
        self,
        program: Program,
        context: RunContext,
        undone: list[str],
        left: list[Problem],
    ) -> None:
        self._program = program
        self._context = context
        self._undone = undone
        self._left = left
        self._overlays = {overlay.disk: overlay for overlay in program.resolution.overlays}

    @property
    def concerned(self) -> bool:
        """Whether the run has external parts at all."""
        resolution = self._program.resolution
        made = bool(resolution.overlays or resolution.copies)
        return made or resolution.state_file is not None

    def end_migration(self) -> Flow[bool]:
        """Cancel a stream of ours that goes on, and see to it that the nodes are active.

        Returns:
            Whether they are; if not, nothing must touch them: QEMU would abort (fact 35).
        """
        if self._program.resolution.stream is None:
            return True
        status = ""
        cancelled = False
        for poll in range(1, _POLLS):
            response = yield from self._context.answer(Send("query-migrate"))
            status = migration_of(_value(response)).status
            if status in ENDED_MIGRATION or not self._context.migrating:
                break
            if not cancelled:
                yield from self._context.answer(Send("migrate_cancel"))
                self._undone.append("cancelled the stream")
                cancelled = True
            elif status == "cancelling" and poll % _FREE_EVERY_POLLS == 0:
                yield from self._free_migration()
            yield AwaitEvent(_POLL_S)
        self._context.migrating = False
        active = yield from self._activate_nodes()
        yield from self._take_back_descriptor()
        return active

    def _take_back_descriptor(self) -> Flow[None]:
        if self._context.passed_descriptor:
            # `migrate` takes it over, and then there is none to close: either answer is right.
            yield from self._context.answer(self._close_descriptor())
            self._context.passed_descriptor = False

    def _close_descriptor(self) -> Send:
        own = self._program.resolution.state_file
        if isinstance(own, VmstateNode) or (
            own is not None and own.transport is Transport.DESCRIPTOR_SET
        ):
            return Send("remove-fd", {"fdset-id": own.descriptor_set})
        name = DESCRIPTOR_NAME if own is None else own.descriptor_name
        return Send("closefd", {"fdname": name})

    def _free_migration(self) -> Flow[None]:
        """Let a cancelled stream go on to its end that waits for a `migrate-continue` (fact 57).

        Where it waits for nothing, this does nothing; an answer that it is over is as good.
        """
        stream = self._program.resolution.stream
        if stream is not None and stream.capture is Capture.LIVE:
            yield from self._context.answer(Send("migrate-continue", {"state": "cancelling"}))

    def _activate_nodes(self) -> Flow[bool]:
        state = why = ""
        for _ in range(_ACTIVATE_POLLS):
            state = run_state_of(_value((yield from self._context.answer(Send("query-status")))))
            if state == "postmigrate":
                self._context.holds_pause = False
                self._context.sent_cont = True
                response = yield from self._context.answer(Send("cont", {}, GRACE_S))
                if isinstance(response, ErrorReply):
                    why = f": {response.description}"
                else:
                    self._undone.append("made the nodes active again")
            elif state != "finish-migrate":
                return True
            yield AwaitEvent(_POLL_S)
        self._left.append(
            Problem(
                "nodes-inactive",
                "vm",
                f"the VM does not leave {state!r}{why}; nothing of the snapshot was touched, since QEMU "
                "aborts on inactive nodes (fact 35)",
                "bring it to running, then run `snapplan recover`",
            )
        )
        return False

    def remove_overlays(self) -> Flow[None]:
        """Take every overlay off its disk, and each node that was added out of QEMU."""
        for disk in list(reversed(self._context.added)):
            if disk not in self._overlays:
                yield from self._remove_own_node(disk)
                continue
            overlay = self._overlays[disk]
            gone = yield from self._delete_node(overlay)
            if not gone:
                gone = yield from self._merge(overlay)
            if gone:
                self._context.added.remove(disk)
                self._context.written.discard(disk)

        if self._program.resolution.vmstate_node is not None:
            yield from self._take_back_descriptor()

    def _remove_own_node(self, node: str) -> Flow[None]:
        """Take the machine state's own node out of QEMU; its image goes with its file."""
        response = yield from self._context.answer(Send("blockdev-del", {"node-name": node}))
        if isinstance(response, Returned):
            self._undone.append("removed the node of the machine state")
        elif not (
            isinstance(response, ErrorReply) and "Failed to find node" in response.description
        ):
            why = response.description if isinstance(response, ErrorReply) else "no answer"
            words = f"QEMU keeps the node of the machine state, and its image stays: {why}"
            self._left.append(
                Problem(
                    "node-left", node, words, "take it out with blockdev-del, then remove the file"
                )
            )
            return
        self._context.added.remove(node)

    def _delete_node(self, overlay: Overlay) -> Flow[bool]:
        response = yield from self._context.answer(
            Send("blockdev-del", {"node-name": overlay.overlay})
        )
        if isinstance(response, Returned):
            self._undone.append(f"removed the overlay's node of {overlay.disk}")
            return True
        return isinstance(response, ErrorReply) and "Failed to find node" in response.description

    def _merge(self, overlay: Overlay) -> Flow[bool]:
        """Write what the overlay holds into its base, and put the base back in its place."""
        digest = hashlib.sha256(overlay.overlay.encode()).hexdigest()
        job_id = f"snapplan-undo-{digest[:12]}"
        live = self._context.baseline.live_nodes
        held = snapshots_of(_value((yield from self._context.answer(_NODES)), [])).get(
            overlay.overlay, ()
        )
        if held:
            tags = ", ".join(repr(snapshot.name) for snapshot in held)
            text = f"another client has made snapshots in it: {tags}; merging it would lose them"
            self._left.append(
                Problem("overlay-left", overlay.disk, text, "decide about them first")
            )
            return False
        own_root = overlay.root == overlay.node or overlay.root.startswith("@")
        device = overlay.overlay if own_root else overlay.root
        base = bind_node(overlay.node, live)
        arguments = merge_arguments(job_id, device, base, overlay.overlay)
        commit = Send("block-commit", arguments, GRACE_S)
        yield from self._context.answer(commit)  # if it is refused, there is no such job to follow
        why = yield from self._follow_merge(job_id, overlay.disk)
        if why:
            text = f"the overlay {overlay.path} is still on the disk: {why}"
            remedy = "merge it with block-commit; the disk as the guest sees it is whole"
            self._left.append(Problem("overlay-left", overlay.disk, text, remedy))
            return False
        self._context.written.discard(overlay.disk)
        self._undone.append(f"merged the overlay of {overlay.disk} into its base")
        return (yield from self._delete_node(overlay))

    def _follow_merge(self, job_id: str, disk: str) -> Flow[str]:
        """Follow a merge to its end; the answer is why it failed."""
        completing = False
        for _ in range(_POLLS):
            jobs = _value((yield from self._context.answer(Send("query-jobs"))), [])
            job, error = job_of(jobs, job_id)
            if job is None:
                return "QEMU did not begin to merge it"
            if job.status == "ready" and not completing:
                yield from self._hold_guest(disk)
                yield from self._context.answer(Send("job-complete", {"id": job_id}))
                completing = True
            if job.status == "concluded":
                yield from self._context.answer(Send("job-dismiss", {"id": job_id}))
                return error
            yield AwaitEvent(_POLL_S)
        return "the merge does not end"

    def _hold_guest(self, disk: str) -> Flow[None]:
        """Have the guest stand until its run state is restored; a storage daemon has none to hold."""
        status = yield from self._context.answer(Send("query-status"))
        if run_state_of(_value(status)) == "running":
            self._context.sent_stop = True
            response = yield from self._context.answer(Send("stop", {}, GRACE_S))
            if lacks_command(response):
                self._context.unheld.add(disk)

    def restore_settings(self) -> Flow[None]:
        """Put the VM's migration settings back as they were."""
        if not self._context.settings_changed:
            return
        found = self._program.resolution.migration_settings
        why = yield from put_settings(
            self._context, found.capabilities_before, found.parameters_before
        )
        self._settings_left(why)
        self._context.settings_changed = False
        self._undone.append("put the migration settings back")

    def _settings_left(self, why: str) -> None:
        if why:
            words = f"migration settings are not as they were: {why}"
            self._left.append(Problem("settings-left", "vm", words, "set them by hand"))

    def forget_error(self) -> Flow[None]:
        """Have QEMU forget that the stream failed: else no snapshot can be loaded (fact 65).

        Best effort: `snapplan load` sees to it as well.
        """
        if self._program.resolution.stream is None:
            return
        why, unlike = yield from forget_error(self._context)
        self._settings_left(unlike)
        if why:
            yield Tell(f"QEMU still remembers the failed stream, until the next one: {why}")

    def remove_files(self, *, gone: bool = False) -> Flow[None]:
        """Remove the files that the run made; what a dead QEMU left in an overlay is merged first."""
        for step in list(reversed(self._context.files)):
            if any(undo.kind is not UndoKind.REMOVE_FILE for undo in step.undo):
                continue
            if self._still_used(step):
                continue
            if (yield from self._remove_file(step, gone=gone)):
                self._context.files.remove(step)

    def _still_used(self, step: Step) -> bool:
        used = {*self._context.added, *self._context.targets}
        return any(undo.disk in used for undo in step.undo if undo.disk)

    def _remove_file(self, step: Step, *, gone: bool) -> Flow[bool]:
        """Remove a file; whether it is known to be gone: else an undo that is begun anew tries again."""
        is_overlay = step.execute == "create-overlay"
        instruction = "remove-stream"
        if is_overlay:
            disks = {undo.disk for undo in step.undo}
            instruction = "remove-overlay"
            if gone and disks & self._context.written:
                # Written to while it was merged, its times do not tell whether it is stale.
                unheld = disks & self._context.unheld
                instruction = "remove-if-equal" if unheld else "merge-overlay"
        arguments = {**step.arguments}
        for undo in step.undo if is_overlay else ():
            if undo.disk in self._context.baseline.backing:
                below = self._context.baseline.backing[undo.disk]
                arguments["base-backing"] = [list(image) for image in below]
        if not is_overlay:
            arguments["named"] = step.execute in ("keep-stream", "keep-copy")
        response: Response = yield HostDo(instruction, arguments, _MERGE_TIMEOUT_S)
        path = str(step.arguments["path"])
        if isinstance(response, Returned):
            told = response.value
            if isinstance(told, dict) and told.get("removed"):
                self._undone.append(f"removed {path}")
            return True
        merging = instruction in ("merge-overlay", "remove-if-equal")
        self._left.append(left_file(path, response, overlay=is_overlay, merging=merging))
        return False

    def forget_nodes(self) -> None:
        """QEMU is gone, and its nodes with it."""
        self._context.added.clear()
        self._context.migrating = False
        self._context.settings_changed = False


_NODES = Send("query-named-block-nodes", {"flat": True})


def _value(response: Response, otherwise: object = None) -> object:
    if isinstance(response, Returned):
        return response.value
    return {} if otherwise is None else otherwise
