"""From a command's name to what it does, at two grains.

Theory: `start` does what a command does at once and leaves the rest as micro-steps in the state;
`advance` takes the next one.  `execute` is nothing but the fold of the two, so whoever explores
the micro-steps explores exactly what the simulator runs.  While `state.pending` holds something,
QEMU's main loop is busy and QMP answers nothing (fact 2).  What a migration does beside the main
loop waits in `state.background`, and what block jobs do in `state.block_work`;
`advance_background` takes one step of either.

Rules: pure and deterministic.  A command that this QEMU does not have is refused as QEMU refuses it;
one that it has and this model does not is refused honestly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from attrs import evolve

from planner.errors import InternalError
from planner.semantics import (
    backup,
    bitmaps,
    block_commit,
    block_commit_job,
    daemon,
    descriptors,
    hardware,
    hmp,
    migrate,
    migration_settings,
    nodes,
    overlay,
    qom,
    replies,
    runstate,
    transaction,
)
from planner.semantics.backup import BACKUP_STEPS
from planner.semantics.block_commit_job import BLOCK_COMMIT_STEPS
from planner.semantics.create_image import CREATE_STEPS, blockdev_create
from planner.semantics.job_commands import job_dismiss, job_verb
from planner.semantics.jobs import JOB_STEPS, start_job
from planner.semantics.migrate import MIGRATION_STEPS
from planner.semantics.recorded_answers import recorded_answer, recorded_answers
from planner.semantics.resize import block_resize
from planner.semantics.result import (
    NOT_MODELLED,
    CommandResult,
    InjectedFailure,
    MicroStep,
    QmpError,
    QmpEvent,
    StepEffect,
    StepTrace,
    generic,
)
from planner.semantics.state import VmState
from planner.semantics.transaction import TRANSACTION_STEPS
from planner.semantics.versions import schema_of

__all__ = [
    "COMMANDS",
    "advance",
    "advance_background",
    "check_command",
    "execute",
    "micro_steps",
    "modelled_commands",
    "next_in_background",
    "run_background",
    "start",
]

Arguments = Mapping[str, object]
Handler = Callable[[VmState, Arguments], CommandResult]
StepHandler = Callable[[VmState, MicroStep, InjectedFailure | None], StepEffect]

STEPS: dict[str, StepHandler] = {
    **JOB_STEPS,
    **TRANSACTION_STEPS,
    **MIGRATION_STEPS,
    **BLOCK_COMMIT_STEPS,
    **hmp.HMP_STEPS,
    **BACKUP_STEPS,
    **CREATE_STEPS,
}


# --- queries ----------------------------------------


def _query(build: Callable[[VmState, Arguments], object]) -> Handler:
    return lambda state, arguments: CommandResult(state, build(state, arguments))


def _version(state: VmState, _arguments: Arguments) -> object:
    major, minor, micro = state.profile.version
    version = {"micro": micro, "minor": minor, "major": major}
    return {"qemu": version, "package": state.profile.package}


def _status(state: VmState, _arguments: Arguments) -> object:
    reply: dict[str, object] = {"status": state.run_state, "running": state.running}
    if state.profile.has_singlestep:
        reply["singlestep"] = False
    return reply


def _jobs(state: VmState, _arguments: Arguments) -> object:
    found = []
    for job in reversed(state.jobs):  # newest first
        ended = job.status == "concluded"
        work = job.commit or job.backup
        entry: dict[str, object] = {
            "current-progress": work.offset_bytes if work else int(ended),
            "status": job.status,
            "total-progress": work.length_bytes if work else 1,
            "type": job.type,
            "id": job.id,
        }
        if job.error:
            entry["error"] = job.error
        found.append(entry)
    return found


def _commands(state: VmState, _arguments: Arguments) -> object:
    names = schema_of(state.profile.name).commands
    return [{"name": name} for name in names if not daemon.lacks(state, name)]


def _schema(state: VmState, _arguments: Arguments) -> object:
    entries = schema_of(state.profile.name).entries
    return [entry for entry in entries if not daemon.lacks(state, str(entry["name"]))]


def _blockstats(state: VmState, arguments: Arguments) -> object:
    if state.machine.daemon and not arguments.get("query-nodes"):
        return []
    return replies.query_blockstats(state, query_nodes=bool(arguments.get("query-nodes")))


def _named_nodes(state: VmState, arguments: Arguments) -> object:
    return replies.query_named_block_nodes(state, flat=bool(arguments.get("flat")))


def _machines(state: VmState, _arguments: Arguments) -> object:
    name = state.machine.type.removesuffix("-machine")
    return [{"name": name, "cpu-max": 255, "is-default": True, "hotpluggable-cpus": True}]


def _plug(state: VmState, name: str) -> CommandResult:
    if state.migration.under_way:
        return CommandResult(state, error=generic(f"{name} not allowed while migrating"))
    return CommandResult(state, error=generic(f"{NOT_MODELLED} the command '{name}'"))


def _negotiated(state: VmState, _arguments: Arguments) -> CommandResult:
    text = "Capabilities negotiation is already complete, command ignored"
    return CommandResult(state, error=QmpError("CommandNotFound", text))


COMMANDS: dict[str, Handler] = {
    "qmp_capabilities": _negotiated,
    "query-version": _query(_version),
    "query-status": _query(_status),
    "query-name": _query(lambda s, _: {"name": s.machine.name} if s.machine.name else {}),
    "query-uuid": _query(lambda s, _: {"UUID": s.machine.uuid}),
    "query-target": _query(lambda s, _: {"arch": s.machine.target}),
    "query-kvm": _query(lambda s, _: hardware.query_kvm(s.machine.hardware)),
    "query-cpus-fast": _query(lambda s, _: hardware.query_processors(s.machine)),
    "query-pci": _query(lambda s, _: hardware.query_pci(s.machine.hardware)),
    "query-machines": _query(_machines),
    "query-block": _query(lambda s, _: [] if s.machine.daemon else replies.query_block(s)),
    "query-block-exports": _query(lambda s, _: daemon.query_block_exports(s)),
    "query-named-block-nodes": _query(_named_nodes),
    "query-blockstats": _query(_blockstats),
    "x-debug-query-block-graph": _query(lambda s, _: replies.query_block_graph(s)),
    "query-jobs": _query(_jobs),
    "query-block-jobs": _query(lambda s, _: backup.query_block_jobs(s)),
    "query-migrate": _query(lambda s, _: migration_settings.query_migrate(s)),
    "query-migrate-capabilities": _query(lambda s, _: migration_settings.query_capabilities(s)),
    "query-migrate-parameters": _query(lambda s, _: migration_settings.query_parameters(s)),
    "query-qmp-schema": _query(_schema),
    "query-commands": _query(_commands),
    "query-tpm": _query(lambda s, _: qom.query_tpm(s)),
    "qom-get": qom.qom_get,
    "qom-list": qom.qom_list,
    "query-fdsets": _query(lambda s, _: descriptors.query_fdsets(s)),
    "stop": lambda state, _: runstate.stop(state),
    "cont": lambda state, _: runstate.cont(state),
    "system_reset": lambda state, _: runstate.system_reset(state),
    "quit": lambda state, _: runstate.quit_qemu(state),
    "snapshot-save": lambda state, a: start_job(state, "snapshot-save", a),
    "snapshot-load": lambda state, a: start_job(state, "snapshot-load", a),
    "snapshot-delete": lambda state, a: start_job(state, "snapshot-delete", a),
    "job-dismiss": job_dismiss,
    "job-cancel": backup.job_cancel,
    "job-pause": lambda state, a: job_verb(state, a, "pause"),
    "job-resume": lambda state, a: job_verb(state, a, "resume"),
    "job-complete": lambda state, a: block_commit_job.verb(state, a, "complete"),
    "job-finalize": lambda state, a: block_commit_job.verb(state, a, "finalize"),
    "block-commit": block_commit.block_commit,
    "block-job-cancel": lambda state, a: block_commit_job.block_job_verb(state, a, "cancel"),
    "block-job-complete": lambda state, a: block_commit_job.block_job_verb(state, a, "complete"),
    "block-job-finalize": lambda state, a: block_commit_job.block_job_verb(state, a, "finalize"),
    "transaction": transaction.start_transaction,
    "blockdev-snapshot-internal-sync": lambda state, a: transaction.single_action(
        state, "blockdev-snapshot-internal-sync", a
    ),
    "blockdev-snapshot": lambda state, a: transaction.single_action(state, "blockdev-snapshot", a),
    "blockdev-snapshot-sync": lambda state, a: transaction.single_action(
        state, "blockdev-snapshot-sync", a
    ),
    "blockdev-backup": lambda state, a: transaction.single_action(state, "blockdev-backup", a),
    "drive-backup": lambda state, a: transaction.single_action(state, "drive-backup", a),
    "block_resize": block_resize,
    "blockdev-create": blockdev_create,
    "blockdev-snapshot-delete-internal-sync": transaction.delete_internal_snapshot,
    "blockdev-add": nodes.blockdev_add,
    "blockdev-del": nodes.blockdev_del,
    "blockdev-set-active": overlay.blockdev_set_active,
    **{name: bitmaps.bitmap_command(name) for name in bitmaps.BITMAP_ACTIONS},
    "device_add": lambda state, _: _plug(state, "device_add"),
    "device_del": lambda state, _: _plug(state, "device_del"),
    "migrate": migrate.migrate,
    "migrate_cancel": lambda state, _: migrate.migrate_cancel(state),
    "migrate-continue": migrate.migrate_continue,
    "migrate-set-capabilities": migration_settings.set_capabilities,
    "migrate-set-parameters": migration_settings.set_parameters,
    "getfd": descriptors.getfd,
    "closefd": descriptors.closefd,
    "add-fd": descriptors.add_fd,
    "remove-fd": descriptors.remove_fd,
    "human-monitor-command": hmp.human_monitor_command,
}


def modelled_commands(state: VmState) -> tuple[str, ...]:
    """What this QEMU has and this model does, in QEMU's order."""
    known = {*COMMANDS, *recorded_answers(state.profile.name)}
    return tuple(name for name in schema_of(state.profile.name).commands if name in known)


# --- the two grains ----------------------------------------


def check_command(state: VmState, name: str, arguments: Arguments) -> QmpError | None:
    """Why this QEMU refuses a command before it looks at what it asks for, if it does."""
    schema = schema_of(state.profile.name)
    if not schema.has_command(name) or daemon.lacks(state, name):
        return QmpError("CommandNotFound", f"The command {name} has not been found")
    # device_add takes the properties of any device, which introspection cannot tell
    problem = None if name == "device_add" else schema.check(name, arguments)
    if problem:
        return generic(problem)
    if name in COMMANDS:
        return None
    if name not in recorded_answers(state.profile.name):
        return generic(f"{NOT_MODELLED} the command '{name}'")
    if arguments:
        return generic(f"{NOT_MODELLED} arguments of the command '{name}'")
    return None


def start(state: VmState, name: str, arguments: Arguments | None = None) -> CommandResult:
    """Do what a command does at once; what it does after that is then pending.

    A result with neither reply nor error means that the answer comes from a pending step.

    Raises:
        InternalError: QEMU is dead, or its main loop is busy: it would answer nothing.
    """
    if state.died:
        raise InternalError(f"the simulated QEMU is gone ({state.died}); it takes no {name}")
    if state.pending:
        raise InternalError(f"the main loop is busy with {state.pending[0]}; it takes no {name}")
    given = arguments or {}
    refusal = check_command(state, name, given)
    if refusal:
        return CommandResult(state, error=refusal)
    handler = COMMANDS.get(name)
    return handler(state, given) if handler else recorded_answer(state, name)


def advance(state: VmState, failure: InjectedFailure | None = None) -> StepEffect:
    """Take the next micro-step of the main loop.

    Args:
        state: A state with something pending.
        failure: If given, the step fails as it would in QEMU.

    Raises:
        InternalError: Nothing is pending.
    """
    if not state.pending:
        raise InternalError("nothing is pending in the main loop")
    step = state.pending[0]
    return STEPS[step.op](evolve(state, pending=state.pending[1:]), step, failure)


def next_in_background(state: VmState) -> MicroStep | None:
    """What goes on beside the main loop: a block job's step, else a migration's.

    None where nothing does, or where the migration waits for `migrate-continue`.
    """
    if state.block_work:
        return state.block_work[0]
    if not state.background or migrate.waits_for_continue(state):
        return None
    return state.background[0]


def advance_background(state: VmState, failure: InjectedFailure | None = None) -> StepEffect:
    """Take the next micro-step of a block job, else of a migration.

    In pre-switchover a migration's step changes nothing.

    Raises:
        InternalError: Neither is under way.
    """
    if state.block_work:
        step = state.block_work[0]
        return STEPS[step.op](evolve(state, block_work=state.block_work[1:]), step, failure)
    if not state.background:
        raise InternalError("no migration and no block job is under way")
    step = state.background[0]
    return STEPS[step.op](evolve(state, background=state.background[1:]), step, failure)


def run_background(state: VmState) -> StepEffect:
    """Take micro-steps of block jobs and of a migration until nothing goes on by itself.

    That is, until the migration ends or waits for `migrate-continue`, and block jobs are ready.
    """
    events: tuple[QmpEvent, ...] = ()
    while next_in_background(state):
        done = advance_background(state)
        state, events = done.state, events + done.events
    return StepEffect(state, events)


def execute(state: VmState, name: str, arguments: Arguments | None = None) -> CommandResult:
    """Run a command until the main loop is quiet again."""
    result = start(state, name, arguments)
    before = result.events_before_reply
    state, reply, error, events = result.state, result.reply, result.error, result.events
    while state.pending:
        done = advance(state)
        state, events = done.state, events + done.events
        reply = done.reply if reply is None else reply
        error = error or done.error
    return CommandResult(state, reply, error, events, before)


def micro_steps(
    state: VmState, name: str, arguments: Arguments | None = None
) -> Iterator[StepTrace]:
    """The micro-steps of a command, one after the other, each with the state after it.

    The first is the command itself, under its own name.  Whoever wants to put a fault, a crash or a
    guest's step between two of them takes the state from there on with `advance`.
    """
    result = start(state, name, arguments)
    yield StepTrace(MicroStep(name), result.state, result.events, result.reply, result.error)
    state = result.state
    while state.pending:
        step = state.pending[0]
        done = advance(state)
        yield StepTrace(step, done.state, done.events, done.reply, done.error)
        state = done.state
