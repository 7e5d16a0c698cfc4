"""Merges an overlay back into its frozen image while the guest writes to it: `block-commit`.

QEMU copies what the overlay holds, reports `ready` when the two are equal but for what comes in just
now, and puts the image back in the overlay's place on `job-complete`.  Whoever dies in between, the
guest's disk is whole at every moment; a job that is there is followed, and one that is not is begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from planner.compile.delete_checks import MergedOverlay
from planner.execute.actions import AwaitEvent, NoAnswer, Send, Turned
from planner.execute.driven import GRACE_S, Flow
from planner.execute.visit import Visit
from planner.model.image import images_of_nodes
from planner.model.replies import jobs_of

__all__ = ["MERGE_TIMEOUT_S", "merge_on_vm"]

MERGE_TIMEOUT_S = 3600.0
_POLL_S = 0.1
_POLLS = 36_000
_BEGINNINGS = 3

Ask = Callable[..., Flow[object]]


def merge_on_vm(merge: MergedOverlay, visit: Visit, ask: Ask) -> Flow[None]:
    """Merge, if the overlay is on the disk, and take its node out of QEMU.

    Raises:
        StepFailed: It cannot be merged; the disk as the guest sees it is whole.
    """
    for _ in range(_BEGINNINGS):
        if (yield from _follow(merge, visit, ask)):
            break
        nodes = images_of_nodes((yield from ask("query-named-block-nodes", {"flat": True})))
        if not merge.device or merge.overlay_file not in nodes:
            break
        yield from _send(_commit(merge), visit, must=True)
    # Its node stays behind when the job has taken it out of the chain.
    response = yield from _send(Send("blockdev-del", {"node-name": merge.overlay}, GRACE_S), visit)
    if isinstance(response, Turned) and "Failed to find node" not in response.description:
        raise visit.failed("overlay-left", f"QEMU says: {response.description}")
    nodes = images_of_nodes((yield from ask("query-named-block-nodes", {"flat": True})))
    if merge.overlay_file in nodes:
        raise visit.failed("overlay-left", f"{merge.overlay_file} is still open in QEMU")


def _commit(merge: MergedOverlay) -> Send:
    arguments = {
        "job-id": merge.job_id,
        "device": merge.device,
        "base-node": merge.base,
        "top-node": merge.overlay,
        "auto-dismiss": False,
    }
    return Send("block-commit", arguments, GRACE_S)


def _send(send: Send, visit: Visit, *, must: bool = False) -> Flow[Any]:
    response = yield send
    if isinstance(response, NoAnswer):
        visit.connected = not response.lost
    if must and isinstance(response, Turned):
        raise visit.failed("command-refused", f"QEMU says: {response.description}")
    return response


def _follow(merge: MergedOverlay, visit: Visit, ask: Ask) -> Flow[bool]:
    """Follow the job to its end; whether there was one."""
    for _ in range(_POLLS):
        jobs = jobs_of((yield from ask("query-jobs")))
        job, error = next(((j, e) for j, e in jobs if j.id == merge.job_id), (None, ""))
        if job is None:
            return False
        if job.status == "ready":
            yield from _send(Send("job-complete", {"id": merge.job_id}, GRACE_S), visit)
        if job.status == "concluded":
            yield from _send(Send("job-dismiss", {"id": merge.job_id}, GRACE_S), visit)
            if error:
                raise visit.failed("job-failed", f"QEMU says: {error}")
            return True
        response = yield AwaitEvent(_POLL_S)
        if isinstance(response, NoAnswer):
            visit.connected = visit.connected and not response.lost
    raise visit.failed("deadline-passed", f"job {merge.job_id} does not end")
