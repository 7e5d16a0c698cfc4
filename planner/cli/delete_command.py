"""`snapplan delete`: take a snapshot's parts away, and its manifest last."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import click
from attrs import evolve, field, frozen

from backends.host import QemuHost
from backends.images import QemuImages
from planner.cli.common import (
    connected,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.cli.manifests import (
    Found,
    find_manifest,
    manifest_argument,
    offline_option,
    read_again,
    store_of,
)
from planner.cli.reporter import TerminalReporter
from planner.cli.stopping import stopped_by_signals
from planner.compile.delete_checks import (
    DeleteOrder,
    Overlays,
    order_delete,
    order_delete_offline,
)
from planner.compile.part_image import images_of_vm
from planner.compile.restore import restored_problems
from planner.errors import BadInput, Problem, Refused
from planner.execute.applying import check_nothing_pending
from planner.execute.before_delete import absent_overlays, check_beforehand, check_streams
from planner.execute.consent import decide_and_ask
from planner.execute.deleting import DeleteMachine
from planner.execute.driving import MachinePump
from planner.execute.files import stamps
from planner.execute.frozen_bases import own_writes
from planner.execute.gone import GoneVm
from planner.execute.journal_file import JournalFile
from planner.execute.meeting import meet
from planner.execute.offline import images_of_files
from planner.execute.ordering import begin_order, settle_order
from planner.execute.outcome import Outcome
from planner.execute.pending_images import check_images_free
from planner.execute.ports import Backend, Host, Images
from planner.execute.pump import ask_facts
from planner.execute.recorder import Recorder
from planner.execute.restoring import names_taken
from planner.execute.store import Store, VmStore
from planner.execute.verifying import ask_images
from planner.model.facts import Facts
from planner.present.delete_view import delete_text, delete_to_plain, intent_text
from planner.present.visible import visible

__all__ = ["command"]


@frozen
class _Wish:
    """What the command line asks for."""

    source: str
    address: str
    store: Store
    overlays: Overlays | None
    yes: bool


@click.command("delete")
@manifest_argument
@vm_option
@offline_option
@click.option(
    "--overlays",
    type=click.Choice([choice.value for choice in Overlays]),
    help="Merge overlays back into the frozen images (commit), or leave the chain as it is (keep).",
)
@click.option("--yes", is_flag=True, help="Do not ask before anything is deleted.")
@store_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    vm: str | None,
    offline: bool,
    overlays: str | None,
    yes: bool,
    store: Store,
    as_json: bool,
) -> None:
    """Delete a snapshot: each part by id and name, the manifest last.

    Nothing is deleted that another manifest needs. A delete that was interrupted is finished by
    another one.
    """
    if (not vm) == (not offline):
        raise click.UsageError("give either --vm ADDR or --offline")
    wish = _Wish(source, vm or "", store, Overlays(overlays) if overlays else None, yes=yes)
    with TerminalReporter() as reporter:
        work = connected(vm, lambda link: _on_vm(link, wish, reporter)) if vm else None
        order, outcome = run(work or _offline(wish, reporter))
    outcome.raise_failure()
    if as_json:
        print_json(delete_to_plain(order))
    else:
        click.echo(delete_text(order))


async def _on_vm(
    backend: Backend, wish: _Wish, reporter: TerminalReporter
) -> tuple[DeleteOrder, Outcome]:
    met = await meet(backend, wish.store, wish.address)
    with met.locked() as vm:
        check_nothing_pending(vm)

        async def decide() -> _Decided:
            facts = await ask_facts(backend)
            found = find_manifest(wish.source, [vm])
            images = images_of_vm(facts, await ask_images(backend))
            others = vm.manifests().found
            here = backend.host is not None
            _refuse_restored(found, wish)
            order = order_delete(
                *(found.manifest, facts, images, others, wish.overlays),
                files_here=here,
                absent=await absent_overlays(found.manifest, backend.host),
            )
            await check_beforehand(order, backend.host)
            check_streams(found.manifest)
            return _Decided(evolve(order, manifest_file=str(found.path.resolve())), facts)

        def ask(decided: _Decided) -> bool:
            return _confirm(decided.order, wish, reporter)

        decided = await decide_and_ask(decide, ask, wish.source)
        journal = begin_order(vm, met.identity, decided.order, decided.facts, instance=met.instance)
        hands = _Hands(backend, backend.images, backend.host, journal)
        return decided.order, await _delete(decided.order, hands, reporter)


async def _offline(wish: _Wish, reporter: TerminalReporter) -> tuple[DeleteOrder, Outcome]:
    found = find_manifest(wish.source, wish.store.vms())
    vm = store_of(found, wish.store)
    with nullcontext() if vm is None else vm.locked():
        return await _offline_of(found, vm, wish, reporter)


async def _offline_of(
    first: Found, vm: VmStore | None, wish: _Wish, reporter: TerminalReporter
) -> tuple[DeleteOrder, Outcome]:
    files, host = QemuImages(), QemuHost()

    async def decide() -> tuple[DeleteOrder, object]:
        found = read_again(first)
        check_images_free(wish.store, found.manifest, vm)
        absent = await absent_overlays(found.manifest, host)
        images, unreadable = await images_of_files(found.manifest, files, absent)
        if unreadable:
            message = "not all images can be looked at"
            raise Refused(message, problems=unreadable, code=unreadable[0].code)
        others = () if vm is None else vm.manifests().found
        _refuse_restored(found, wish)
        order = order_delete_offline(found.manifest, images, others, wish.overlays, absent=absent)
        await check_beforehand(order, host)
        check_streams(found.manifest)
        order = evolve(order, manifest_file=str(found.path.resolve()))
        return order, stamps(found.manifest.files)

    def ask(decided: tuple[DeleteOrder, object]) -> bool:
        return _confirm(decided[0], wish, reporter)

    order, _ = await decide_and_ask(decide, ask, wish.source)
    hands = _Hands(GoneVm("no VM is used"), files, host)
    with own_writes(vm, [part.file for part in order.parts], order.tag):
        return order, await _delete(order, hands, reporter)


@frozen
class _Decided:
    """A delete on a running VM, before somebody agrees to it.

    Attributes:
        order: The delete.
        facts: The VM as it was decided on; what does not change the order may change.
    """

    order: DeleteOrder
    facts: Facts = field(eq=False)


def _refuse_restored(found: Found, wish: _Wish) -> None:
    """What lies on a frozen image must find it as it is: disks that a restore made do."""
    if wish.overlays is not Overlays.COMMIT:
        return
    problems = tuple(restored_problems(found.manifest, names_taken(found.manifest, "")))
    if problems:
        message = f"{found.manifest.tag!r} was restored, and its frozen images are in use"
        raise Refused(message, problems=problems, code="delete-refused")


@frozen
class _Hands:
    """What a delete is done with."""

    backend: Backend
    images: Images | None
    host: Host | None
    journal: JournalFile | None = None


async def _delete(order: DeleteOrder, hands: _Hands, reporter: TerminalReporter) -> Outcome:
    machine = DeleteMachine.of(order)
    pump = MachinePump(
        machine,
        hands.backend,
        images=hands.images,
        host=hands.host,
        reporter=reporter,
        recorder=None if hands.journal is None else Recorder(hands.journal),
    )

    async def work() -> Outcome:
        outcome = await pump.run()
        settle_order(order, outcome, hands.journal)
        return outcome

    return await stopped_by_signals(work(), pump.interrupt)


def _confirm(order: DeleteOrder, wish: _Wish, reporter: TerminalReporter) -> bool:
    """Snapshots go only with somebody's word for it; whether that was asked for."""
    if wish.yes:
        return False
    what = intent_text(order)
    if not sys.stdin.isatty():
        problem = Problem("confirmation-missing", order.tag, what, "add --yes")
        raise BadInput(str(problem), problems=(problem,), code=problem.code)
    with reporter.quiet():
        click.confirm(visible(f"{what}. Go on?"), abort=True, err=True)
    return True
