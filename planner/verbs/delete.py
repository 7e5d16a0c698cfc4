"""Delete: takes a snapshot's parts away, each by id and name, and its manifest last."""

from __future__ import annotations

from contextlib import nullcontext

from attrs import evolve, field, frozen

from planner.collect.throwaways import end_spares
from planner.delete.before_delete import (
    absent_files,
    check_beforehand,
    check_shown,
    check_streams,
)
from planner.delete.delete_checks import (
    DeletePlan,
    Overlays,
    plan_delete,
    plan_delete_offline,
)
from planner.delete.delete_run import DeleteRun, forget_manifest
from planner.delete.deleting import DeleteMachine
from planner.errors import Refused, in_order
from planner.group.membership import check_alone
from planner.host.files import stamps
from planner.inspect.offline import images_of_files
from planner.inspect.verifying import ask_images
from planner.load.restored import OnRestore, lying_problems, on_copies, on_restore
from planner.load.restoring import names_taken
from planner.model.facts import Facts
from planner.parts.manifest import Manifest
from planner.parts.needing_vm import unwritable_problems
from planner.parts.part_image import images_of_vm
from planner.present.delete_view import intent_text
from planner.recover.gone import GoneVm
from planner.recover.pending_images import check_images_free
from planner.run.consent import decide_and_ask
from planner.run.outcome import Outcome
from planner.run.ports import Backend, Host, Images
from planner.run.pump import Pump
from planner.store.frozen_bases import own_writes
from planner.store.held import Held, met_and_locked
from planner.store.journaled import JournaledRun, begin_run, check_nothing_pending
from planner.store.promoting import promote
from planner.store.restore_records import Restore
from planner.store.restores import forget_empty, restores_of
from planner.store.store import Store, VmStore
from planner.template.removing import check_unused, drop_files
from planner.verbs.context import Context, Offline, Question
from planner.verbs.find import FoundManifest, find_in_store, find_own, read_again, store_of

__all__ = ["Deleted", "check_delete", "delete", "delete_offline"]


@frozen
class Deleted:
    """A delete that has ended.

    Attributes:
        order: What was decided.
        outcome: How it ended; `Outcome.raise_failure` raises what a failure amounts to.
    """

    order: DeletePlan
    outcome: Outcome


async def delete(
    context: Context, source: str, overlays: Overlays | None = None, *, alone: bool = False
) -> Deleted:
    """Delete a snapshot of a running VM; the guest runs on.

    Args:
        context: The VM, connected, and who is told and asked.
        source: A tag that the store has for this VM, or a manifest's file.
        overlays: What becomes of overlays; None: a snapshot that has some is refused.
        alone: Whether it may be a member's of a group, and the others keep theirs.

    Returns:
        How it ended.  A delete that was interrupted is finished by another one.

    Raises:
        BadInput: There is no such manifest, or nobody could be asked.
        Refused: Another snapshot needs a part, or a part is not what was recorded; nothing was deleted.
        CannotConnect: The VM does not answer.
    """
    async with met_and_locked(context.backend, context.store, context.address) as held:
        met, vm, backend = held.met, held.vm, held.met.backend
        check_nothing_pending(vm)
        await end_spares(vm, source, backend.host)

        decided = await decide_and_ask(
            lambda: _decide(context, held, source, overlays, alone=alone),
            lambda each: context.consent(_question(each.order)),
            source,
        )
        order = decided.order
        if decided.restore is not None:  # its overlay is the snapshot's now, whoever dies
            promote(vm, decided.manifest, decided.restore)
        await _without_template(decided.manifest, vm, backend.host)
        run = begin_run(*(vm, met.identity, DeleteRun(order), decided.facts), instance=met.instance)
        hands = _Hands(backend, backend.images, backend.host, run)
        deleted = await _delete(order, hands, context)
        forget_empty(vm)
        return deleted


async def check_delete(
    context: Context, source: str, overlays: Overlays | None = None, *, alone: bool = False
) -> DeletePlan:
    """Look whether a snapshot could be deleted; see `delete`.  Nothing is changed.

    Returns:
        What would be done.

    Raises:
        Refused: It could not.
    """
    async with met_and_locked(context.backend, context.store, context.address) as held:
        check_nothing_pending(held.vm)
        return (await _decide(context, held, source, overlays, alone=alone)).order


async def _decide(
    context: Context, held: Held, source: str, overlays: Overlays | None, *, alone: bool
) -> _Decided:
    vm, backend = held.vm, held.met.backend
    facts = await held.facts()
    found = find_own(source, vm, facts)
    check_alone(vm, found.manifest, alone=alone, doing="delete")
    images = images_of_vm(facts, await ask_images(backend))
    others = vm.manifests().found
    seen = _as_it_runs(found, vm, overlays, facts)
    order = plan_delete(
        *(seen.manifest, facts, images, others, overlays),
        files_here=backend.host is not None,
        absent=await absent_files(seen.manifest, backend.host),
    )
    await check_shown(seen.manifest, order, backend.host)
    await check_beforehand(order, backend.host)
    check_streams(found.manifest)
    _check_template(found.manifest, context.store)
    order = evolve(order, manifest_file=str(found.path.resolve()))
    return _Decided(order, seen.current, found.manifest, facts)


async def delete_offline(
    offline: Offline, source: str, overlays: Overlays | None = None, *, alone: bool = False
) -> Deleted:
    """Delete a snapshot in the image files of a VM that is not running; see `delete`.

    Raises:
        Refused: An image is open in a VM, an unfinished run concerns it, or it cannot be done safely.
    """
    found = find_in_store(source, offline.store, offline.vm_name)
    vm = store_of(found, offline.store)
    check_alone(vm, found.manifest, alone=alone, doing="delete")
    with nullcontext() if vm is None else vm.locked():
        await end_spares(vm, found.manifest.tag, offline.host)
        decided = await decide_and_ask(
            lambda: _decide_offline(found, vm, offline, overlays),
            lambda each: offline.consent(_question(each[0])),
            source,
        )
        order = decided[0]
        if vm is not None:
            await _without_template(read_again(found).manifest, vm, offline.host)
        using = offline.unlocked(read_again(found).manifest)
        hands = _Hands(GoneVm("no VM is used"), using.images, using.host)
        with own_writes(vm, [part.file for part in order.parts], order.tag):
            deleted = await _delete(order, hands, offline)
        if vm is not None:
            forget_empty(vm)
        return deleted


async def _decide_offline(
    first: FoundManifest, vm: VmStore | None, offline: Offline, overlays: Overlays | None
) -> tuple[DeletePlan, object]:
    found = read_again(first)
    check_images_free(offline.store, found.manifest, vm)
    absent = await absent_files(found.manifest, offline.host)
    using = offline.unlocked(found.manifest)
    images, unreadable = await images_of_files(found.manifest, using.images, absent)
    if unreadable:
        message = "not all images can be looked at"
        raise Refused(message, problems=unreadable, code=unreadable[0].code)
    locked = tuple(unwritable_problems(found.manifest, offline.keyring.secrets))
    if locked:
        raise Refused("an image cannot be written to", problems=locked, code=locked[0].code)
    others = () if vm is None else vm.manifests().found
    _as_it_runs(found, vm, overlays)
    order = plan_delete_offline(found.manifest, images, others, overlays, absent=absent)
    await check_beforehand(order, offline.host)
    check_streams(found.manifest)
    _check_template(found.manifest, offline.store)
    order = evolve(order, manifest_file=str(found.path.resolve()))
    return order, stamps(found.manifest.files)


@frozen
class _Decided:
    """A delete on a running VM, before somebody agrees to it.

    Attributes:
        order: The delete.
        restore: The restore that the VM runs on, and whose overlays are merged; None: none.
        manifest: The snapshot as it is recorded.
        facts: The VM as it was decided on; what does not change the order may change.
    """

    order: DeletePlan
    restore: Restore | None
    manifest: Manifest
    facts: Facts = field(eq=False)


def _as_it_runs(
    found: FoundManifest, vm: VmStore | None, overlays: Overlays | None, facts: Facts | None = None
) -> OnRestore:
    """The snapshot, on the disk of a restore where its VM runs on one.

    Raises:
        Refused: A merge would change an image that another restore lies on (``delete-refused``).
    """
    manifest = found.manifest
    own = vm is not None and found.path.resolve() == vm.manifest_path(manifest.tag).resolve()
    restores = restores_of(vm).found if own and vm is not None else ()
    lying = in_order(on_copies(manifest, restores, names_taken(manifest, "")))
    if lying:
        message = f"{manifest.tag!r} was restored, and its copies are in use"
        raise Refused(message, problems=lying, code="delete-refused")
    if overlays is not Overlays.COMMIT:
        return OnRestore(manifest, ())
    seen = on_restore(manifest, restores, facts)
    there = names_taken(manifest, "") | names_taken(seen.manifest, "")
    problems = in_order(lying_problems(seen, there))
    if problems:
        message = f"{manifest.tag!r} was restored, and its frozen images are in use"
        raise Refused(message, problems=problems, code="delete-refused")
    return seen


@frozen
class _Hands:
    """What a delete is done with."""

    backend: Backend
    images: Images | None
    host: Host | None
    run: JournaledRun | None = None


async def _delete(order: DeletePlan, hands: _Hands, context: Context | Offline) -> Deleted:
    pump = Pump(
        DeleteMachine.of(order) if hands.run is None else hands.run.machine,
        hands.backend,
        images=hands.images,
        host=hands.host,
        reporter=context.reporter,
        recorder=None if hands.run is None else hands.run.recorder(),
    )

    async def work() -> Deleted:
        outcome = await pump.run()
        if hands.run is None:
            forget_manifest(order, outcome)
        else:
            hands.run.settle(outcome)
        return Deleted(order, outcome)

    return await context.awaiting(work(), pump.interrupt)


def _check_template(manifest: Manifest, store: Store) -> None:
    if manifest.template is not None:
        check_unused(manifest.tag, manifest.template, store)


async def _without_template(manifest: Manifest, vm: VmStore, host: Host | None) -> None:
    """Its template goes first: a delete that fails or is killed leaves nothing that no record names."""
    recorded = vm.manifest(manifest.tag)
    if host is not None and recorded is not None and recorded.template is not None:
        await drop_files(vm, manifest.tag, recorded.template, host)


def _question(order: DeletePlan) -> Question:
    what = intent_text(order)
    return Question(order.tag, what, f"{what}. Go on?", "add --yes")
