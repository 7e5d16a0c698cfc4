"""Load: goes back to a snapshot on a running VM, every disk and the machine state, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from planner.errors import Problem, Refused
from planner.group.membership import check_alone
from planner.host.left_out import look_at_left_out
from planner.host.process_io import meter_of
from planner.host.reading import read_files
from planner.inspect.verifying import ask_images, with_images_beside
from planner.load.ended_guest import Wanted
from planner.load.load_checks import LoadPlan, plan_load
from planner.load.load_run import LoadRun
from planner.load.loading import LoadOutcome
from planner.load.qemu_log import QemuLog, with_log
from planner.model.facts import Facts
from planner.model.request import RunStateAfter
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted
from planner.parts.manifest import Manifest
from planner.parts.part_image import ImagesByDisk, images_of_vm
from planner.run.outcome import Outcome
from planner.run.ports import Gates
from planner.run.pump import Pump
from planner.store.frozen_bases import check_reverted
from planner.store.held import Held, met_and_locked
from planner.store.instance import Instance
from planner.store.journaled import JournaledRun, begin_run, check_nothing_pending
from planner.store.meeting import Met
from planner.store.store import VmStore
from planner.verbs.context import Context
from planner.verbs.find import find_on_vm
from planner.verbs.reading import on_read

if TYPE_CHECKING:
    from planner.verbs.way_back import WayBack

__all__ = ["LoadWish", "Loaded", "check_load", "decide_load", "load", "pump_of_load"]


@frozen
class LoadWish:
    """How a snapshot is to be loaded.

    Attributes:
        run_state_after: What the VM does when it is loaded.
        deadline_s: How long the load may take, in seconds; None: an hour.
        keep: The tag under which what is there now is saved first; empty: it is lost.
        accepted: What may differ from what was saved.
        reset: Whether the VM may be reset first, where no guest would run else; what its guest has in
            memory is lost then, also where the load fails.
        alone: Whether it may be a member's of a group, and the others stay as they are.
    """

    run_state_after: RunStateAfter = RunStateAfter.AS_BEFORE
    deadline_s: float | None = None
    keep: str = ""
    accepted: Accepted = NOTHING_ACCEPTED
    reset: bool = False
    alone: bool = False


@frozen
class Loaded:
    """A load that has ended.

    Attributes:
        order: What was decided.
        outcome: How it ended; `Outcome.raise_failure` raises what a failure amounts to.
    """

    order: LoadPlan
    outcome: Outcome


async def load(context: Context, source: str, wish: LoadWish | None = None) -> Loaded:
    """Go back to a snapshot whose parts are all inside images.

    Args:
        context: The VM, connected, and who is told.
        source: A tag that the store has for this VM, or a manifest's file.
        wish: How.

    Returns:
        How it ended.  A load that fails before a disk was reverted leaves the VM as it was; one that
        fails later leaves it stopped, and the outcome says which disks were reverted (fact 20).

    Raises:
        BadInput: There is no such manifest.
        Refused: It cannot be loaded safely; nothing but questions was sent.
        RunFailed: What is there now could not be saved first; there was no load.
        CannotConnect: The VM does not answer.
    """
    wish = wish or LoadWish()
    async with met_and_locked(context.backend, context.store, context.address) as held:
        met, vm, facts = held.met, held.vm, held.met.facts
        context = evolve(context, backend=met.backend)
        order, manifest, way_back = await _decided(context, held, source, wish)
        run = LoadRun(order, manifest.lineage)
        return await _run(context, met, vm, run, way_back, facts, wish)


async def check_load(context: Context, source: str, wish: LoadWish | None = None) -> LoadPlan:
    """Look whether a snapshot could be loaded; see `load`.  Nothing is changed.

    Returns:
        What would be done.

    Raises:
        BadInput, Refused, CannotConnect: It could not.
    """
    async with met_and_locked(context.backend, context.store, context.address) as held:
        context = evolve(context, backend=held.met.backend)
        return (await _decided(context, held, source, wish or LoadWish()))[0]


async def _decided(
    context: Context, held: Held, source: str, wish: LoadWish
) -> tuple[LoadPlan, Manifest, WayBack | None]:
    vm, facts = held.vm, held.met.facts
    check_nothing_pending(vm)
    manifest = find_on_vm(source, vm, held.met).manifest
    check_alone(vm, manifest, alone=wish.alone)
    order = await decide_load(context, vm, manifest, facts, wish)
    way_back = _way_back(vm, manifest, facts, wish)
    if way_back is not None:
        order = way_back.before(order)
    return order, manifest, way_back


async def decide_load(
    context: Context, vm: VmStore, manifest: Manifest, facts: Facts, wish: LoadWish
) -> LoadPlan:
    """Decide a load; the VM is asked questions only.

    Raises:
        Refused: It cannot be loaded safely.
    """
    backend = context.backend
    _refuse_disks_alone(manifest)
    if backend.images is not None:
        check_reverted(vm, manifest, facts)
    images: ImagesByDisk = images_of_vm(facts, await ask_images(backend))
    local = backend.images is not None
    if backend.images is not None:
        images = await with_images_beside(manifest, images, backend.images)
    left_out = look_at_left_out(manifest, local=local)
    saved = await read_files(manifest, on_read(context.reporter)) if local else {}
    wanted = Wanted(wish.run_state_after, wish.reset)
    return plan_load(manifest, facts, images, wanted, left_out, wish.accepted, saved)


def _way_back(vm: VmStore, manifest: Manifest, facts: Facts, wish: LoadWish) -> WayBack | None:
    """How what is there now is saved first; None: it is not to be."""
    if not wish.keep:
        return None
    from planner.verbs.way_back import WayBack  # noqa: PLC0415 - it brings the compiler along

    return WayBack.planned(wish.keep, vm, manifest, facts)


async def _run(  # noqa: PLR0913, PLR0917 - all that was decided
    context: Context,
    met: Met,
    vm: VmStore,
    load_run: LoadRun,
    way_back: WayBack | None,
    facts: Facts,
    wish: LoadWish,
) -> Loaded:
    identity, instance = met.identity, met.instance
    run = begin_run(*(vm, identity, load_run, facts), instance=instance, deadline_s=wish.deadline_s)
    try:
        if way_back is not None:
            meter = meter_of(instance.process, facts.memory_bytes)
            await way_back.save(context, met, vm, run, meter)
        pump = pump_of_load(context, run, load_run.order, facts, instance)
        log = QemuLog.of(context.backend.peer_pid)

        async def work() -> Loaded:
            outcome = await pump.run()
            run.settle(outcome)
            said = with_log(outcome, log) if isinstance(outcome, LoadOutcome) else outcome
            return Loaded(load_run.order, said)

        return await context.awaiting(work(), pump.interrupt)
    finally:
        run.journal.close()


def pump_of_load(  # noqa: PLR0913 - all that a load is driven with
    context: Context,
    run: JournaledRun,
    order: LoadPlan,
    facts: Facts,
    instance: Instance,
    *,
    gates: Gates | None = None,
) -> Pump:
    """What drives a load; with gates that of a member of a group."""
    return Pump(
        run.machine,
        context.backend,
        images=context.backend.images,
        host=context.backend.host,
        reporter=context.reporter,
        recorder=run.recorder(),
        meter=meter_of(instance.process, _state_bytes(order, facts)),
        gates=gates,
    )


def _state_bytes(order: LoadPlan, facts: Facts) -> int:
    """How long the machine state is that is to be read; 0: the disks do not say."""
    snapshots = (snapshot for disk in facts.disks for snapshot in disk.holding(order.tag))
    return max((snapshot.vm_state_size_bytes for snapshot in snapshots), default=0)


def _refuse_disks_alone(manifest: Manifest) -> None:
    """No QMP command reverts a disk (fact 21): say what does."""
    if manifest.vmstate is not None:
        return
    from planner.load.reverting import offline_commands  # noqa: PLC0415 - to refuse it only

    commands = offline_commands(manifest)
    message = f"{manifest.tag!r} holds disks alone, and no QMP command reverts a disk (fact 21)"
    remedies = [f"end the VM, then: {command}" for command in commands]
    problems = tuple(Problem("disk-only", manifest.tag, message, remedy) for remedy in remedies)
    raise Refused(
        f"{message}; end the VM, then `snapplan load --offline` does it",
        problems=problems or (Problem("disk-only", manifest.tag, message),),
        code="disk-only",
    )
