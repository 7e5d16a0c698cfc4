"""Follows what a command set going until it is where its step says: run states and migrations.

Events wake the run up; what counts is what QEMU answers when it is asked then, since an event can be
lost with a connection, and of write tracking no event tells at all (fact 40).
"""

from __future__ import annotations

from collections.abc import Collection

from planner.model.operations import Kind
from planner.model.replies import MigrationInfo, job_of, migration_of, run_state_of
from planner.model.request import Capture
from planner.program.program import Step, WaitsFor
from planner.run.actions import Flow, NoAnswer, Poll, Response, Send
from planner.run.run_context import RunContext

__all__ = [
    "ASK_RUN_STATE",
    "ENDED_MIGRATION",
    "await_copy",
    "await_migration",
    "await_run_state",
]

ENDED_MIGRATION = ("", "none", "completed", "failed", "cancelled")
_TRACKING_POLL_S = 0.001
"""The guest stands while this is waited for, and nothing but asking tells."""
_POLL_S = 0.25
ASK_RUN_STATE = Send("query-status")
_ON_THE_WAY = ("finish-migrate", "postmigrate")


def await_run_state(
    context: RunContext, wanted: str, response: Response | None = None
) -> Flow[None]:
    """Wait until the VM shows a run state; after a migration it can take its time (fact 36).

    Args:
        context: What the run knows.
        wanted: QEMU's name of it.
        response: What came of a ``query-status`` that was sent already.

    Raises:
        StepFailed: The VM is in another run state, and not on its way.
    """
    while True:
        reply = context.must_be_done(response or (yield ASK_RUN_STATE))
        found = run_state_of(reply)
        response = None
        if found == wanted:
            return
        if found not in _ON_THE_WAY:
            raise context.failed(
                "run-state-unexpected", f"the VM is {found!r} and should be {wanted!r}"
            )
        context.must_be_done((yield Poll(_POLL_S / 10)))


def await_migration(context: RunContext, step: Step, deadline_s: float | None) -> Flow[None]:
    """Wait until a migration is where its step says.

    Afterwards: at `SWITCHOVER` the guest stands and the nodes are active; at `TRACKING` the guest may
    run again; at `MIGRATED` the stream is complete, and the VM is in postmigrate with inactive nodes,
    or, after a background capture, as it was.

    Raises:
        StepFailed: It failed, was cancelled, went past that place, or took too long; the guest may
            stand and the nodes may be inactive.
    """
    timeout_s = deadline_s or step.timeout_s
    every_s = _TRACKING_POLL_S if step.waits_for is WaitsFor.TRACKING else _POLL_S
    last = MigrationInfo("")
    while True:
        reply = context.must_be_done((yield Send("query-migrate", timeout_s=timeout_s)))
        found = migration_of(reply)
        if _is_there(found, step.waits_for):
            break
        _check_alive(context, found)
        context.check_wishes()
        context.check_pause_held()
        last = found
        response = yield Poll(every_s)
        if isinstance(response, NoAnswer) and not response.lost:
            raise context.failed("stream-not-converging", _too_long(response.why, last))
        context.must_be_done(response)
    if step.waits_for is WaitsFor.SWITCHOVER:
        yield from await_run_state(context, "finish-migrate")
        context.holds_pause = True
    elif step.waits_for is WaitsFor.MIGRATED:
        context.migrating = False
        if not _is_background(step):
            # `cont` before QEMU has come to rest there would meet a migration that is still ending.
            yield from await_run_state(context, "postmigrate")


def await_copy(
    context: RunContext, job_id: str, reply: object, beside: Collection[str] = ()
) -> Flow[None]:
    """Wait until a job that copies a disk is concluded, and dismiss it.

    Afterwards: the copy is whole, and its node still open.  A copy beside it that fails ends the wait at
    once: the guest may stand since then (fact 113), and nothing is left to be waited for.

    Args:
        context: What the run knows.
        job_id: The job's.
        reply: What QEMU said of its jobs last.
        beside: The jobs of the run's other copies.

    Raises:
        StepFailed: It failed, was cancelled, is gone, or took too long; or one beside it failed.
    """
    while True:
        for other in beside:
            _, error = job_of(reply, other)
            if error:
                raise context.failed("job-failed", f"QEMU says of another copy: {error}")
        job, error = job_of(reply, job_id)
        if job is None:
            raise context.failed("job-vanished", f"another client dismissed job {job_id}")
        if job.status == "concluded":
            break
        context.check_wishes()
        context.must_be_done((yield Poll(_POLL_S)))
        reply = context.must_be_done((yield Send("query-jobs")))
    if error:
        raise context.failed("job-failed", f"QEMU says: {error}")
    yield Send("job-dismiss", {"id": job_id})  # one that stays is a nuisance, no failed copy


def _is_there(found: MigrationInfo, waits_for: WaitsFor) -> bool:
    if waits_for is WaitsFor.SWITCHOVER:
        return found.status == "pre-switchover"
    if waits_for is WaitsFor.TRACKING:
        return found.pages > 0 and found.status in ("active", "completed")
    return found.status == "completed"


def _check_alive(context: RunContext, found: MigrationInfo) -> None:
    if found.status in ENDED_MIGRATION:
        words = found.error or f"the migration is {found.status or 'gone'!r}"
        context.migrating = False
        raise context.failed("migration-failed", f"QEMU says: {words}")


def _too_long(why: str, last: MigrationInfo) -> str:
    return (
        f"{why}, with {last.remaining_bytes} bytes of the stream to go: the "
        "guest writes memory faster than it is saved, or the target is slow; `auto-converge: true` "
        "slows a guest down, `capture: stopped` and `background` need not catch up with it"
    )


def _is_background(step: Step) -> bool:
    return any(
        operation.kind is Kind.END_STREAM_VMSTATE and operation.detail == Capture.BACKGROUND
        for operation in step.covers
    )
