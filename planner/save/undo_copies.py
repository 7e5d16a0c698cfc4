"""Undoes the copies of disks that a run began: the job ends first, then its node goes.

Rules: a job is cancelled and seen concluded before anything else is done to its disk, since QEMU lets
nobody at the disk's node meanwhile (fact 112).  A guest that stands because its copy could not be
written (`io-error`, fact 113) may go on once the job is over: its write is then done to its disk alone.
"""

from __future__ import annotations

from planner.errors import Problem
from planner.model.replies import job_of
from planner.program.program import Program
from planner.program.resolution import DiskCopy
from planner.run.actions import AwaitEvent, ErrorReply, Flow, Returned, Send
from planner.run.run_context import RunContext

__all__ = ["UndoCopies"]

_POLL_S = 0.05
_POLLS = 2400
"""Two minutes: how long a cancelled copy may take to end."""


class UndoCopies:
    """Undoes the copies of one run.

    Args:
        program: What was run.
        context: What is known of it.
        undone: Is told what was undone, in words.
        left: Is told what could not be.
    """

    def __init__(
        self, program: Program, context: RunContext, undone: list[str], left: list[Problem]
    ) -> None:
        self._context = context
        self._undone = undone
        self._left = left
        self._copies = {copy.disk: copy for copy in program.resolution.copies}

    def end(self) -> Flow[None]:
        """End every copy that may be under way, and take its node out of QEMU."""
        for disk in list(reversed(self._context.copying)):
            if (yield from self._cancel(self._copies[disk])):
                self._context.copying.remove(disk)
        for disk in list(reversed(self._context.targets)):
            if disk not in self._context.copying and (
                yield from self._take_out(self._copies[disk])
            ):
                self._context.targets.remove(disk)

    def _cancel(self, copy: DiskCopy) -> Flow[bool]:
        cancelled = False
        for _ in range(_POLLS):
            response = yield from self._context.answer(Send("query-jobs"))
            job, _ = job_of(response.value if isinstance(response, Returned) else [], copy.job)
            if job is None:
                return True
            if job.status == "concluded":
                yield from self._context.answer(Send("job-dismiss", {"id": copy.job}))
                return True
            if not cancelled:
                yield from self._context.answer(Send("job-cancel", {"id": copy.job}))
                self._undone.append(f"cancelled the copy of {copy.disk}")
                cancelled = True
            yield AwaitEvent(_POLL_S)
        words = f"its copy does not end (job {copy.job})"
        remedy = "wait until it has ended, then run `snapplan recover`"
        self._left.append(Problem("copy-left", copy.disk, words, remedy))
        return False

    def _take_out(self, copy: DiskCopy) -> Flow[bool]:
        response = yield from self._context.answer(Send("blockdev-del", {"node-name": copy.target}))
        if isinstance(response, Returned):
            self._undone.append(f"removed the node of the copy of {copy.disk}")
            return True
        if isinstance(response, ErrorReply) and "Failed to find node" in response.description:
            return True
        why = response.description if isinstance(response, ErrorReply) else "no answer came"
        words = f"the node {copy.target} of its copy is still there: {why}"
        remedy = "take it out with blockdev-del, then run `snapplan recover`"
        self._left.append(Problem("copy-left", copy.disk, words, remedy))
        return False

    def forget(self) -> None:
        """QEMU is gone, and its jobs and nodes with it."""
        self._context.copying.clear()
        self._context.targets.clear()
