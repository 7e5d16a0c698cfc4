"""Jobs of ours: how their end is waited for, and how an overlay is merged into its base by one.

A snapshot job is heard of by its events; QEMU answers no question while it works (fact 2).  A merge is
looked at again and again: it has a place, `ready`, at which it waits to be told to complete.
"""

from __future__ import annotations

from planner.model.replies import jobs_of
from planner.run.actions import AwaitEvent, Flow, NoAnswer, Returned, Send
from planner.run.conversation import GRACE_S
from planner.run.run_context import JOB_ENDS, RunContext

__all__ = ["await_job", "await_last_word", "merge_arguments"]


def await_job(context: RunContext, job_id: str, timeout_s: float) -> Flow[NoAnswer | None]:
    """Wait until a job of ours has ended, or is gone.

    A job that works cannot be cancelled, and QEMU answers nothing meanwhile (fact 2): where the run is
    to stop, QEMU is asked once whether the job is there at all, and then its end is waited for.

    Args:
        context: What the run knows; it hears the job's events.
        job_id: Its id.
        timeout_s: How long it may take, in seconds.

    Returns:
        Why nothing more is heard; None: it has ended.
    """
    asked = False
    while not context.job_ended:
        if not context.interrupted or asked:
            response = yield AwaitEvent()
        else:
            asked = True
            response = yield Send("query-jobs", timeout_s=timeout_s)
            if isinstance(response, Returned) and not _works(job_id, response.value):
                return None
        if isinstance(response, NoAnswer):
            return response
    return None


def _works(job_id: str, reply: object) -> bool:
    return any(job.id == job_id and job.status not in JOB_ENDS for job, _ in jobs_of(reply))


def await_last_word(context: RunContext) -> Flow[None]:
    """Wait until the job's end is heard, or nothing more is.

    Its end may be told with the last answers, and comes after other events: a save that stops and
    resumes the guest tells of five things at once.
    """
    while not context.job_ended:
        if not isinstance((yield AwaitEvent(GRACE_S)), Returned):
            break


def merge_arguments(job_id: str, device: str, base: str, overlay: str) -> dict[str, object]:
    """What `block-commit` is told, to merge an overlay into its base by a job that stays there.

    Args:
        job_id: The job's id.
        device: The root node of the disk, or the overlay.
        base: The base's node.
        overlay: The overlay's node.
    """
    return {
        "job-id": job_id,
        "device": device,
        "base-node": base,
        "top-node": overlay,
        "auto-dismiss": False,
    }
