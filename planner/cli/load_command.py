"""`snapplan load`: go back to a snapshot."""

from __future__ import annotations

import os
from contextlib import nullcontext

import click
from attrs import frozen

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
    find_on_vm,
    manifest_argument,
    offline_option,
    read_again,
    store_of,
)
from planner.cli.reporter import TerminalReporter
from planner.cli.restore import RestoreWish, is_restore, restore
from planner.cli.stopping import stopped_by_signals
from planner.compile.accepting import Accepted
from planner.compile.load_checks import LoadOrder, order_load
from planner.compile.part_image import images_of_vm
from planner.errors import Problem, Refused
from planner.execute.applying import (
    JournaledRun,
    begin_run,
    check_nothing_pending,
    check_tag_free,
    settle,
)
from planner.execute.driving import MachinePump
from planner.execute.evidence import look_at_files
from planner.execute.frozen_bases import check_reverted
from planner.execute.journal_file import JournalFile
from planner.execute.keeping import after_keeping, keeping_plan, keeping_pump
from planner.execute.left_out import look_at_left_out
from planner.execute.loading import LoadMachine, LoadOutcome
from planner.execute.meeting import meet
from planner.execute.ordering import begin_order, settle_order
from planner.execute.outcome import Outcome
from planner.execute.pending_images import check_images_free
from planner.execute.ports import Backend
from planner.execute.pump import ask_facts
from planner.execute.qemu_log import QemuLog, with_log
from planner.execute.recorder import Recorder
from planner.execute.reverting import offline_commands, revert_offline
from planner.execute.store import Store
from planner.execute.verifying import ask_images
from planner.model.manifest import Manifest, ManifestPart
from planner.model.request import RunStateAfter
from planner.present.load_view import (
    load_text,
    load_to_plain,
    reverted_text,
    reverted_to_plain,
)

__all__ = ["command"]


@frozen
class _Wish:
    """What the command line asks for."""

    source: str
    address: str
    store: Store
    run_state_after: RunStateAfter
    deadline_s: float | None
    keep: str
    accepted: Accepted


@click.command("load")
@manifest_argument
@vm_option
@offline_option
@click.option(
    "--run-state-after",
    type=click.Choice([state.value for state in RunStateAfter]),
    default=RunStateAfter.AS_BEFORE.value,
    show_default=True,
    help="What the VM does when the snapshot is loaded; QEMU itself leaves it as before the load.",
)
@click.option(
    "--keep-current",
    "keep",
    metavar="TAG",
    default="",
    help="First save what is there now under this tag, so that there is a way back.",
)
@click.option(
    "--deadline",
    "deadline_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long the load may take.",
)
@click.option(
    "--run",
    "template",
    metavar="TEMPLATE",
    default="",
    help="Start QEMU by this command line, and restore into it. It is split into words as a shell "
    "would, and run without one. Places: {disk:NAME} image, {format:NAME} its format, {qmp} socket.",
)
@click.option(
    "--qmp",
    "socket",
    metavar="PATH",
    default="",
    help="With --run: the socket for {qmp}; else the one of the VM that was saved.",
)
@click.option(
    "--copy-to",
    "copies",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Copy images there that would else be reverted, so that nothing that they hold now is lost.",
)
@click.option("--yes", is_flag=True, help="Do not ask before what a disk holds now is lost.")
@click.option(
    "--accept-changed",
    "changed",
    metavar="DISK",
    multiple=True,
    help="Load although this disk or drive, which is no part of the snapshot, holds something else now "
    "than it did then. Once for each.",
)
@click.option(
    "--accept-cpu",
    is_flag=True,
    help="Load although the VM's processor is another one than the guest knew.",
)
@store_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    vm: str | None,
    offline: bool,
    run_state_after: str,
    deadline_s: float | None,
    template: str,
    socket: str,
    copies: str | None,
    yes: bool,
    changed: tuple[str, ...],
    accept_cpu: bool,
    keep: str,
    store: Store,
    as_json: bool,
) -> None:
    """Go back to a snapshot: every disk and the machine state, or nothing.

    With --vm it is loaded by a running VM, where all its parts are inside images. Without, it goes back
    into a fresh QEMU: the way is shown, or with --run TEMPLATE gone; --offline makes the disks ready and
    no more. Frozen images are never written again: a snapshot can be restored any number of times.

    All disks are checked before one is touched. A load that fails before a disk was reverted leaves
    the VM as it was; one that fails later leaves it stopped and says which disks were reverted.
    A snapshot of disks alone can be loaded with --offline only.
    """
    if bool(vm) + offline + bool(template) > 1:
        raise click.UsageError("give one of --vm ADDR, --offline and --run TEMPLATE")
    folder = os.path.realpath(copies) if copies else ""
    after = RunStateAfter(run_state_after)
    accepted = Accepted(accept_cpu, frozenset(changed))
    fresh = RestoreWish(store, offline, template, socket, folder, yes, after, deadline_s, accepted)
    wish = _Wish(source, vm or "", store, after, deadline_s, keep, accepted)
    if keep and not vm:
        raise click.UsageError("--keep-current needs --vm ADDR")
    with TerminalReporter() as reporter:
        if vm:
            order, outcome = run(connected(vm, lambda backend: _load(backend, wish, reporter)))
            outcome.raise_failure()
            said, text = load_to_plain(order, outcome), load_text(order, outcome)
        else:
            said, text = run(_without_vm(wish, fresh, reporter))
    if as_json:
        print_json(said)
    else:
        click.echo(text)


async def _load(
    backend: Backend, wish: _Wish, reporter: TerminalReporter
) -> tuple[LoadOrder, Outcome]:
    # Whose lock it is, only the VM can say; what is decided on is asked when it is held.
    met = await meet(backend, wish.store, wish.address)
    with met.locked() as vm:
        check_nothing_pending(vm)
        manifest = find_on_vm(wish.source, vm, met).manifest
        _refuse_disks_alone(manifest)
        facts = await ask_facts(backend)
        images = images_of_vm(facts, await ask_images(backend))
        left_out = look_at_left_out(manifest, local=backend.images is not None)
        after = wish.run_state_after
        saved = {} if backend.images is None else look_at_files(manifest)
        if backend.images is not None:
            check_reverted(vm, manifest, facts)
        order = order_load(manifest, facts, images, after, left_out, wish.accepted, saved)
        identity, instance = met.identity, met.instance
        plan = None
        if wish.keep:
            order = after_keeping(order, wish.keep)
            plan = keeping_plan(wish.keep, manifest, facts)
            check_tag_free(vm, plan, facts)
        journal = begin_order(
            vm, identity, order, facts, instance=instance, deadline_s=wish.deadline_s
        )
        try:
            if plan is not None:
                run_ = begin_run(vm, identity, plan, facts, instance=instance)
                await _keep(backend, run_, journal, reporter)
            machine = LoadMachine.of(order, wish.deadline_s)
            recorder = Recorder(journal)
            pump = MachinePump(
                machine, backend, images=backend.images, reporter=reporter, recorder=recorder
            )

            log = QemuLog.of(backend.peer_pid)

            async def work() -> Outcome:
                outcome = await pump.run()
                settle_order(order, outcome, journal)
                return with_log(outcome, log) if isinstance(outcome, LoadOutcome) else outcome

            return order, await stopped_by_signals(work(), pump.interrupt)
        finally:
            journal.close()


async def _keep(
    backend: Backend,
    run_: JournaledRun,
    journal: JournalFile,
    reporter: TerminalReporter,
) -> None:
    """Save what is there before the load; where that fails there is no load, and no record of one."""
    pump = keeping_pump(run_, backend, images=backend.images, host=backend.host, reporter=reporter)

    async def work() -> Outcome:
        outcome = await pump.run()
        if outcome.failure is not None:
            journal.remove()
        settle(run_, outcome)
        return outcome

    outcome = await stopped_by_signals(work(), pump.interrupt)
    outcome.raise_failure()


def _refuse_disks_alone(manifest: Manifest) -> None:
    """No QMP command reverts a disk (fact 21): say what does."""
    if manifest.vmstate is not None:
        return
    commands = offline_commands(manifest)
    message = f"{manifest.tag!r} holds disks alone, and no QMP command reverts a disk (fact 21)"
    remedies = [f"end the VM, then: {command}" for command in commands]
    problems = tuple(Problem("disk-only", manifest.tag, message, remedy) for remedy in remedies)
    raise Refused(
        f"{message}; end the VM, then `snapplan load --offline` does it",
        problems=problems or (Problem("disk-only", manifest.tag, message),),
        code="disk-only",
    )


async def _without_vm(
    wish: _Wish, fresh: RestoreWish, reporter: TerminalReporter
) -> tuple[dict[str, object], str]:
    found = find_manifest(wish.source, wish.store.vms())
    if not fresh.offline or fresh.copies or is_restore(found.manifest):
        return await restore(found, fresh, reporter)
    manifest, parts = await _offline(found, wish, reporter)
    return reverted_to_plain(manifest, parts), reverted_text(manifest, parts)


async def _offline(
    found: Found, wish: _Wish, reporter: TerminalReporter
) -> tuple[Manifest, tuple[ManifestPart, ...]]:
    vm = store_of(found, wish.store)
    with nullcontext() if vm is None else vm.locked():
        manifest = read_again(found).manifest  # another snapplan may have replaced it meanwhile
        check_images_free(wish.store, manifest, vm)
        others = () if vm is None else vm.manifests().found
        # Half a revert is of no use to anybody: it is short, and goes on to its end.
        reverting = revert_offline(
            manifest, QemuImages(), others, reporter, wish.accepted, host=QemuHost()
        )
        return manifest, await stopped_by_signals(
            reverting, lambda: reporter.note("the disks are being reverted; it ends soon")
        )
