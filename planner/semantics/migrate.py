"""Machine state by `migrate`: to a file, with pause-before-switchover, or as background snapshot.

Theory: a migration runs beside the main loop, so its micro-steps wait in `state.background`, where
commands and the guest may come between any two of them.  A plain one copies memory while the guest
runs, stops the guest (that is the saved instant), makes the nodes inactive, and ends in postmigrate
(fact 29); with pause-before-switchover it waits after the stop, nodes still active, for
`migrate-continue` (fact 30).  A background snapshot turns write tracking on: *that* is its instant,
no event says so, and a guest that was let run too early is stopped again and saved later than its
disks (facts 39, 40).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.semantics.block import set_active
from planner.semantics.descriptors import set_problem
from planner.semantics.quirks import Quirk
from planner.semantics.result import (
    CommandResult,
    InjectedFailure,
    MicroStep,
    QmpEvent,
    StepEffect,
    generic,
)
from planner.semantics.runstate import resume_guest, stop_guest
from planner.semantics.state import Migration, StreamContent, VmState

__all__ = [
    "MIGRATION_STEPS",
    "migrate",
    "migrate_cancel",
    "migrate_continue",
    "waits_for_continue",
]

_ACTIVE = "There's a migration process in progress"
_AWAIT = MicroStep("await-migrate-continue")
_PLAIN = ("migration-active", "migration-stop")
_END = ("migration-inactivate", "migration-complete")
_BACKGROUND = (
    "migration-active",
    "background-stop",
    "background-tracking",
    "background-resume",
    "background-complete",
)


def waits_for_continue(state: VmState) -> bool:
    """Whether the migration waits in pre-switchover for `migrate-continue`."""
    return state.background[:1] == (_AWAIT,)


def migrate(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `migrate`; what follows runs in the background."""
    refusal = _refusal(state, arguments)
    if refusal:
        return CommandResult(state, error=generic(refusal))
    uri = _uri(arguments)
    background = "background-snapshot" in state.capabilities
    begun = evolve(
        state,
        migration=Migration(
            status="setup",
            uri=uri,
            was_running=state.running,
            old_run_state=state.run_state,
            background=background,
        ),
    )
    events = _status_events(state, "setup")
    problem = _target_problem(state, uri)
    if problem:
        return _failed_at_once(begun, events, problem)
    if background:
        queue = tuple(MicroStep(op) for op in _BACKGROUND)
    else:
        pause = (_AWAIT,) if "pause-before-switchover" in state.capabilities else ()
        middle = (MicroStep("migration-device"),) if pause or state.profile.device_status else ()
        ends = tuple(MicroStep(op) for op in _END)
        queue = (*(MicroStep(op) for op in _PLAIN), *pause, *middle, *ends)
    return CommandResult(evolve(begun, background=queue), {}, None, events, len(events))


def _uri(arguments: Mapping[str, object]) -> str:
    """Where to, as an URI also where it was given as a channel."""
    channels = cast("list[dict[str, Any]]", arguments.get("channels", []))
    return _address(channels[0]["addr"]) if channels else cast("str", arguments["uri"])


def _address(addr: Mapping[str, Any]) -> str:
    transport = addr["transport"]
    if transport == "file":
        return f"file:{addr['filename']}"
    if transport == "exec":
        return "exec:" + " ".join(addr["args"])
    if addr.get("type") == "fd":
        return f"fd:{addr['str']}"
    if addr.get("type") == "unix":
        return f"unix:{addr['path']}"
    return (
        f"{'rdma' if transport == 'rdma' else 'tcp'}:{addr.get('host', '')}:{addr.get('port', '')}"
    )


def _refusal(state: VmState, arguments: Mapping[str, object]) -> str:
    if ("uri" in arguments) == bool(arguments.get("channels")):
        return "need either 'uri' or 'channels' argument"
    protocol = _uri(arguments).partition(":")[0]
    if state.profile.checks_uri_first and protocol not in _protocols(state):
        return f"unknown migration protocol: {_uri(arguments)}"
    if state.migration.under_way:
        return _ACTIVE
    if state.run_state == "inmigrate":
        return "Guest is waiting for an incoming migration"
    if state.run_state == "postmigrate":
        return "Can't migrate the vm that was paused due to previous migration"
    return state.machine.blocked_reasons[0] if state.machine.blocked_reasons else ""


def _protocols(state: VmState) -> frozenset[str]:
    known = frozenset({"tcp", "unix", "exec", "fd", "rdma"})
    return known | {"file"} if state.profile.has_file_uri else known


def _target_problem(state: VmState, uri: str) -> str:
    protocol, _, target = uri.partition(":")
    if protocol not in _protocols(state):
        return "Parameter 'uri' expects a valid migration protocol"
    if protocol == "file":
        return set_problem(state, target.partition(",offset=")[0])
    if protocol != "fd":
        return ""
    if target not in state.fds:
        return f"File descriptor named '{target}' has not been found"
    if not state.profile.fd_uri_takes_files and target not in state.sockets:
        return "fd: migration to a file is not supported. Use file: instead."
    return ""


def _failed_at_once(state: VmState, before: tuple[QmpEvent, ...], problem: str) -> CommandResult:
    failed = evolve(state, migration=evolve(state.migration, status="failed", error=problem))
    events = before + _failure_events(state)
    return CommandResult(failed, None, generic(problem), events, len(events))


def migrate_continue(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `migrate-continue`."""
    status = state.migration.status or "none"
    if arguments["state"] != status:
        return CommandResult(state, error=generic(f"Migration not in expected state: {status}"))
    if not waits_for_continue(state):
        return CommandResult(state, {})
    return CommandResult(evolve(state, background=state.background[1:]), {})


def migrate_cancel(state: VmState) -> CommandResult:
    """The command `migrate_cancel`: the end of it comes later, as events."""
    if not state.migration.under_way or state.migration.status == "cancelling":
        return CommandResult(state, {})
    migration = evolve(state.migration, status="cancelling")
    queue = (MicroStep("migration-cancelled"),)
    events = _status_events(state, "cancelling")
    begun = evolve(state, migration=migration, background=queue)
    return CommandResult(begun, {}, None, events, len(events))


# --- the steps beside the main loop ----------------------------------------


def _status_events(state: VmState, *statuses: str) -> tuple[QmpEvent, ...]:
    if "events" not in state.capabilities:
        return ()
    return tuple(QmpEvent("MIGRATION", (("status", status),)) for status in statuses)


def _failure_events(state: VmState) -> tuple[QmpEvent, ...]:
    statuses = ("failing", "failed") if state.profile.failing_status else ("failed",)
    return _status_events(state, *statuses)


def _to_status(state: VmState, status: str) -> StepEffect:
    moved = evolve(state, migration=evolve(state.migration, status=status))
    return StepEffect(moved, _status_events(state, status))


def _active(state: VmState, _step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    if failure:
        return _fail(state, failure)
    return _to_status(state, "active")


def _stop(state: VmState, _step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    if failure:
        return _fail(state, failure)
    migration = evolve(
        state.migration,
        was_running=state.running,
        old_run_state=state.run_state,
        machine=state.machine_version,
    )
    done = stop_guest(state, "finish-migrate")
    stopped = evolve(done.state, run_state="finish-migrate", migration=migration)
    if not waits_for_continue(stopped):
        return StepEffect(stopped, done.events)
    paused = _to_status(stopped, "pre-switchover")
    return StepEffect(paused.state, done.events + paused.events)


def _await(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    if failure:
        return _fail(state, failure)
    return StepEffect(evolve(state, background=(step, *state.background)))


def _device(state: VmState, _step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    return _fail(state, failure) if failure else _to_status(state, "device")


def _inactivate(state: VmState, _step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    if any((job.commit or job.backup) and job.status != "concluded" for job in state.jobs):
        failure = InjectedFailure(
            state.profile.inactivate_text
        )  # a block job keeps its nodes writable
    return _fail(state, failure) if failure else StepEffect(set_active(state, active=False))


def _complete(state: VmState, _step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    if failure:
        return _fail(state, failure)
    done = _to_status(_with_stream(state), "completed")
    return StepEffect(evolve(done.state, run_state="postmigrate"), done.events)


def _with_stream(state: VmState) -> VmState:
    stream = StreamContent(state.migration.uri, state.migration.machine)
    others = tuple(other for other in state.streams if other.uri != stream.uri)
    protocol, _, target = stream.uri.partition(":")
    fds = tuple(fd for fd in state.fds if protocol != "fd" or fd != target)
    return evolve(state, streams=(*others, stream), fds=fds)


def _fail(state: VmState, failure: InjectedFailure) -> StepEffect:
    failed = evolve(
        state,
        background=(),
        migration=evolve(state.migration, status="failed", error=failure.text),
    )
    after = _after_migration(failed)
    return StepEffect(after.state, _failure_events(state) + after.events)


def _cancelled(state: VmState, _step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    after = _after_migration(state)
    ended = _to_status(after.state, "cancelled")
    return StepEffect(ended.state, after.events + ended.events)


def _after_migration(state: VmState) -> StepEffect:
    """Bring the guest back to what it was before a migration that came to nothing."""
    migration = state.migration
    if migration.background:
        return _after_background(state)
    if state.run_state != "finish-migrate":
        return StepEffect(state)  # QEMU had not stopped it yet
    state = set_active(state, active=True)
    if migration.was_running:
        return resume_guest(state)
    if state.profile.has(Quirk.CANCEL_WHILE_PAUSED_IS_POSTMIGRATE):
        return StepEffect(evolve(state, run_state="postmigrate"))
    return StepEffect(evolve(state, run_state=migration.old_run_state))


def _after_background(state: VmState) -> StepEffect:
    if state.migration.tracking and state.profile.has(Quirk.BACKGROUND_FAILURE_FREEZES):
        return StepEffect(evolve(state, frozen=True))
    if state.run_state == "paused" and state.migration.was_running:
        return resume_guest(state)
    return StepEffect(state)


# --- background snapshot ----------------------------------------


def _background_stop(
    state: VmState, _step: MicroStep, failure: InjectedFailure | None
) -> StepEffect:
    if failure:
        return _fail(state, failure)
    # a guest that somebody let run meanwhile is stopped again: a later instant (fact 40)
    migration = evolve(state.migration, was_running=state.running, old_run_state=state.run_state)
    return stop_guest(evolve(state, migration=migration), "paused")


def _background_tracking(
    state: VmState, _step: MicroStep, failure: InjectedFailure | None
) -> StepEffect:
    if failure:
        return _fail(state, failure)
    migration = evolve(state.migration, tracking=True, machine=state.machine_version)
    return StepEffect(evolve(state, migration=migration))


def _background_resume(
    state: VmState, _step: MicroStep, failure: InjectedFailure | None
) -> StepEffect:
    if failure:
        return _fail(state, failure)
    by_itself = state.profile.has(Quirk.BACKGROUND_RESUMES_BY_ITSELF)
    if state.migration.was_running or by_itself:
        return resume_guest(state)
    return StepEffect(state)


def _background_complete(
    state: VmState, _step: MicroStep, failure: InjectedFailure | None
) -> StepEffect:
    if failure:
        return _fail(state, failure)
    done = _to_status(_with_stream(state), "completed")
    migration = evolve(done.state.migration, tracking=False)
    return StepEffect(evolve(done.state, migration=migration), done.events)


MIGRATION_STEPS = {
    "migration-active": _active,
    "migration-stop": _stop,
    "await-migrate-continue": _await,
    "migration-device": _device,
    "migration-inactivate": _inactivate,
    "migration-complete": _complete,
    "migration-cancelled": _cancelled,
    "background-stop": _background_stop,
    "background-tracking": _background_tracking,
    "background-resume": _background_resume,
    "background-complete": _background_complete,
}
