"""Stops the guest by a load that finds nothing, so that QEMU forgets the code that it has translated.

From 10.2 on QEMU, where it translates the guest's code itself (TCG), forgets the translations only
when a load stops the guest (fact 76).  A guest that stood already goes on, after a load, with
code of before it wherever memory now holds other code at the same place.  So the guest is stopped by
QEMU: by `snapshot-load` of a tag that nothing has, which stops the guest before it looks for the
tag, reverts nothing, and leaves it in ``restore-vm`` (fact 18).  One that stands has to run for that,
for as long as QEMU takes from one command to the next; what it does then, the load undoes.
"""

from __future__ import annotations

from planner.load.load_checks import LoadPlan, stopping_job_id
from planner.model.replies import jobs_of
from planner.run.actions import AwaitEvent, Flow, Send, Tell
from planner.run.conversation import GRACE_S, answers
from planner.run.run_context import RunContext

__all__ = ["STOPPED", "reset", "stop_by_load"]

STOPPED = "restore-vm"
RESET = "prelaunch"
_POLLS = 600
_POLL_S = 0.1


def stop_by_load(context: RunContext, order: LoadPlan) -> Flow[str]:
    """Stop a guest, or let it run and stop it at once; its run state then.

    Raises:
        StepFailed: QEMU refuses, or the guest does not stand.
    """
    job_id = stopping_job_id(order.job_id)
    arguments = {
        "job-id": job_id,
        "tag": order.stops_by,
        "vmstate": order.vmstate,
        "devices": [order.vmstate],
    }
    load = Send("snapshot-load", arguments, GRACE_S)
    context.sent_stop = True
    if (yield from context.run_state()) == "running":
        told = [(yield load)]
    else:
        yield Tell("the guest runs for a moment, so that QEMU forgets its translated code")
        context.holds_pause = False
        context.sent_cont = True
        told = list((yield from answers(Send("cont", {}, GRACE_S, then=(load,)))))
    for response in told:
        context.must_be_done(response)
    yield from _await_failure(context, job_id, order.stops_by)
    run_state = yield from context.run_state()
    if run_state != STOPPED:
        words = f"the VM is {run_state!r} and should be {STOPPED!r}"
        raise context.failed("run-state-unexpected", words)
    context.holds_pause = True
    return run_state


def reset(context: RunContext) -> Flow[str]:
    """Reset a VM whose guest has ended, since QEMU lets no other run (fact 77); its run state then.

    Raises:
        StepFailed: It is not reset.
    """
    context.must_be_done((yield from context.once("system_reset")))
    run_state = ""
    for _ in range(_POLLS):
        run_state = yield from context.run_state()
        if run_state == RESET:
            return run_state
        yield AwaitEvent(_POLL_S)
    words = f"the VM is {run_state!r} after `system_reset`; was QEMU started with -no-reboot?"
    raise context.failed("run-state-unexpected", words)


def _await_failure(context: RunContext, job_id: str, tag: str) -> Flow[None]:
    """Wait until the job has found nothing, and dismiss it."""
    for _ in range(_POLLS):
        jobs = jobs_of((yield from context.ask("query-jobs")))
        ended = [error for job, error in jobs if (job.id, job.status) == (job_id, "concluded")]
        if ended:
            yield Send("job-dismiss", {"id": job_id})
            if not ended[0]:
                raise context.failed("vm-changed", f"another client has made a snapshot {tag!r}")
            return
        yield AwaitEvent(_POLL_S)
    raise context.failed("job-vanished", f"job {job_id} has not ended")
