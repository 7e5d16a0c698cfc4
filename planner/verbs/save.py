"""Save: runs a request or a plan on a VM, with its journal before and its manifest after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import evolve, field, frozen

from planner.compare.predicting import predict
from planner.compile.designs import AUTO
from planner.compile.plan import Plan, check_unchanged, compile_request
from planner.errors import Problem, Refused
from planner.host.process_io import meter_of
from planner.host.room import allocated_bytes, room_notes
from planner.model.facts import Facts, SnapshotInfo
from planner.model.request import ServedBy
from planner.model.request_text import ReadRequest
from planner.program.program import Target
from planner.run.consent import decide_and_ask
from planner.run.leftovers import files_of
from planner.run.outcome import Outcome
from planner.run.ports import Agent, Backend, Gates
from planner.run.progress import Meter
from planner.run.pump import HostClock, Pump
from planner.save.before_save import check_tag_free
from planner.save.save_run import begin_save
from planner.store.frozen_bases import check_bases
from planner.store.held import Held, met_and_locked
from planner.store.journaled import JournaledRun, check_nothing_pending
from planner.store.makings import makings_of
from planner.store.store import VmStore
from planner.verbs.context import Context, Question

__all__ = ["Limits", "Saved", "check_save", "check_saving", "pump_of", "save"]


@frozen
class Limits:
    """How long a run may take.

    Attributes:
        deadline_s: Any step, in seconds, in place of each step's own deadline; None: these.
        pause_budget_ms: The guest's pause, in milliseconds: a plan that is predicted to take longer is
            refused, a run that does is undone; None: as long as it takes.
    """

    deadline_s: float | None = None
    pause_budget_ms: float | None = None


@frozen
class Saved:
    """A run that has ended.

    Attributes:
        plan: What was run.
        outcome: How it ended; `Outcome.raise_failure` raises what a failure amounts to.
        manifest: Where the snapshot is recorded; None: it is not done.
    """

    plan: Plan
    outcome: Outcome
    manifest: Path | None


async def save(
    context: Context,
    source: Plan | ReadRequest,
    design: str = AUTO,
    limits: Limits | None = None,
    *,
    digest: bool = False,
) -> Saved:
    """Take a snapshot, or leave the VM as it was.

    Args:
        context: The VM, connected, and who is told and asked.
        source: A plan, which must still fit the VM; or a request, which is compiled for it.
        design: For a request: a design's name, or `auto`.
        limits: How long it may take.
        digest: Whether frozen images are read in the end, and their digests recorded.

    Returns:
        How it ended.  A step that failed raises nothing: what had been done is undone, and the outcome
        says so.

    Raises:
        BadInput: The request cannot be read, or nobody could be asked what it would replace.
        Refused: It cannot be done safely; nothing but questions was sent.
        VmChanged: The plan was made for another VM than this one is now.
        CannotConnect: The VM does not answer.
        UndoIncomplete: The snapshot is whole, and its manifest cannot be written; `recover` does it.
    """
    limits = limits or Limits()
    async with met_and_locked(context.backend, context.store, context.address) as held:
        met, vm = held.met, held.vm
        context = evolve(context, backend=met.backend)
        check_nothing_pending(vm)

        async def decide() -> _Decided:
            return await _decided(held, source, design, limits)

        decided = await decide_and_ask(
            decide, lambda each: _ask(each.plan, context), "existing-tag"
        )
        run = begin_save(
            *(vm, met.identity, decided.plan, decided.facts),
            instance=met.instance,
            deadline_s=limits.deadline_s,
            digest=digest,
        )
        meter = meter_of(met.instance.process, decided.facts.memory_bytes)
        files = _files(decided) if context.backend.images is not None else ()
        before = allocated_bytes(files)
        saved = await _run(context, decided.plan, run, limits, meter)
        await _clear_makings(vm, context)
        return evolve(saved, outcome=_with_room(saved.outcome, room_notes(files, before)))


async def check_save(context: Context, plan: Plan, limits: Limits | None = None) -> None:
    """Look whether a plan could be run now; see `save`.  Nothing is changed, and nobody is asked.

    Raises:
        Refused, VmChanged, CannotConnect: It could not.
    """
    async with met_and_locked(context.backend, context.store, context.address) as held:
        check_nothing_pending(held.vm)
        await _decided(held, plan, AUTO, limits or Limits())


async def _decided(held: Held, source: Plan | ReadRequest, design: str, limits: Limits) -> _Decided:
    facts = await held.facts()
    plan = _fitting_plan(source, facts, design)
    _check_alone(plan)
    check_saving(plan, facts, held.vm, held.met.backend, limits)
    return _Decided(plan, _given_up(plan, facts), facts)


async def _clear_makings(vm: VmStore, context: Context) -> None:
    """Take away what a template of a replaced snapshot left: only then is it loaded how."""
    if makings_of(vm):
        from planner.template.removing import clear_makings  # noqa: PLC0415 - start-up's time

        await clear_makings(vm, context.backend.host)


@frozen
class _Decided:
    """A run, before somebody agrees to what it replaces.

    Attributes:
        plan: What is to be run.
        given_up: The snapshots that it replaces, as they are: an id and a tag may be given again.
        facts: The VM as it was decided on; what changes neither of them may change.
    """

    plan: Plan
    given_up: tuple[tuple[str, SnapshotInfo], ...]
    facts: Facts = field(eq=False)


def check_saving(plan: Plan, facts: Facts, vm: VmStore, backend: Backend, limits: Limits) -> None:
    """What the compiler cannot see of a plan: what is recorded, and where the VM's files are.

    Raises:
        Refused: It cannot be run safely; nothing but questions was sent.
    """
    check_tag_free(vm, plan, facts)
    _check_host(plan, backend)
    if backend.images is not None:
        check_bases(vm, plan, facts)
    _check_pause(plan, limits, facts)


def _check_alone(plan: Plan) -> None:
    """Refuse disks that other members of a group are to have: this is none."""
    problems = tuple(
        Problem(
            "served-by-nobody",
            name,
            f"it is to be served by member {wish.member!r}, and this snapshot is of one VM alone",
            "save the group (`snapplan group apply`), or say `exclude`",
        )
        for name, wish in plan.request.disks
        if isinstance(wish, ServedBy)
    )
    if problems:
        raise Refused("the request is a group's", problems=problems, code="request-refused")


def _given_up(plan: Plan, facts: Facts) -> tuple[tuple[str, SnapshotInfo], ...]:
    ids = {(old.disk, old.id) for old in plan.program.resolution.replaced}
    return tuple(
        (disk.name, snapshot)
        for disk in facts.disks
        for snapshot in disk.snapshots
        if (disk.name, snapshot.id) in ids
    )


async def _run(
    context: Context, plan: Plan, run: JournaledRun, limits: Limits, meter: Meter | None
) -> Saved:
    agent = context.agents(run.run.agent) if run.run.agent else None
    pump = pump_of(context, run, limits, meter, agent)

    async def work() -> Saved:
        try:
            outcome = await pump.run()
            return Saved(plan, outcome, run.settle(outcome))
        finally:
            if agent is not None:
                await agent.close()

    return await context.awaiting(work(), pump.interrupt)


def pump_of(  # noqa: PLR0913, PLR0917 - all that a run is driven with
    context: Context,
    run: JournaledRun,
    limits: Limits,
    meter: Meter | None,
    agent: Agent | None,
    gates: Gates | None = None,
) -> Pump:
    """What drives the run of a save; with gates that of a member of a group."""
    images = context.backend.images
    return Pump(
        run.machine,
        context.backend,
        images=images,
        host=context.backend.host,
        agent=agent,
        clock=None if images is None else HostClock(),
        reporter=context.reporter,
        pause_budget_ms=limits.pause_budget_ms,
        recorder=run.recorder(),
        meter=meter,
        gates=gates,
    )


def _files(decided: _Decided) -> tuple[str, ...]:
    """The VM's images, and the files that the run makes."""
    images = [disk.filename for disk in decided.facts.disks if disk.filename.startswith("/")]
    return (*images, *files_of(decided.plan.program))


def _with_room(outcome: Outcome, notes: Iterator[str]) -> Outcome:
    """A failure, and beside it which file systems are full: QEMU seldom says so."""
    if outcome.failure is None or outcome.failure.interrupted:
        return outcome
    words = "; ".join([outcome.failure.message, *notes])
    return evolve(outcome, failure=evolve(outcome.failure, message=words))


def _fitting_plan(source: Plan | ReadRequest, facts: Facts, design: str) -> Plan:
    if isinstance(source, Plan):
        check_unchanged(source, facts)
        return source
    return compile_request(source, facts, design)


def _check_host(plan: Plan, backend: Backend) -> None:
    """External parts are files beside the VM's images; refuse where these are another machine's."""
    if backend.host is None and any(s.target is Target.HOST for s in plan.program.steps):
        problem = Problem(
            "host-not-here",
            "vm",
            "external parts are files on QEMU's host, and over TCP that may be another machine",
            "run snapplan there, and give --vm the path of a unix socket",
        )
        raise Refused.of(problem)


def _check_pause(plan: Plan, limits: Limits, facts: Facts) -> None:
    """Refuse a plan whose pause is predicted to be longer than the user allows."""
    if limits.pause_budget_ms is None:
        return
    predicted = predict(plan.program, len(plan.program.steps), facts.memory_bytes or None)
    if predicted is None:
        return
    whole_ms = predicted.besides_ms + (predicted.machine_state_ms or 0.0)
    if whole_ms > limits.pause_budget_ms:
        problem = Problem(
            "pause-budget-exceeded",
            plan.program.design,
            f"the guest would stand still for about {whole_ms:.0f} ms (a prediction, see `compare`), "
            f"and {limits.pause_budget_ms:g} ms are allowed",
            "use `capture: background` or `live`, or allow more",
        )
        raise Refused.of(problem)


def _ask(plan: Plan, context: Context) -> bool:
    """Existing snapshots are replaced only with somebody's consent; whether that was asked for."""
    replaced = plan.program.resolution.replaced
    if not replaced:
        return False
    names = ", ".join(f"{old.disk} (id {old.id})" for old in replaced)
    tag = plan.program.resolution.tag
    return context.consent(
        Question(
            tag,
            f"this would delete the existing snapshot of {names}",
            f"Delete the existing snapshot {tag!r} of {names}?",
            "add --yes",
        )
    )
