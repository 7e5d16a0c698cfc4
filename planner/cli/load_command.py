"""`snapplan load`: go back to a snapshot."""

from __future__ import annotations

import os

import click

from planner.cli.asking import context_of, offline_of
from planner.cli.common import (
    connected,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.cli.manifests import (
    alone_option,
    check_name,
    manifest_argument,
    name_option,
    offline_option,
    secret_option,
)
from planner.cli.reporter import TerminalReporter, Then, progress_option
from planner.cli.run_options import deadline_option, run_state_option
from planner.model.image_key import Secrets
from planner.model.request import RunStateAfter
from planner.parts.accepting import Accepted
from planner.present.load_view import (
    load_text,
    load_to_plain,
)
from planner.run.ports import Backend
from planner.store.store import Store
from planner.verbs.load import Loaded, LoadWish, load

__all__ = ["command"]


@click.command("load")
@manifest_argument
@vm_option
@offline_option
@name_option
@run_state_option(
    "What the VM does when the snapshot is loaded; QEMU itself leaves it as before the load."
)
@click.option(
    "--keep-current",
    "keep",
    metavar="TAG",
    default="",
    help="First save what is there now under this tag, so that there is a way back.",
)
@deadline_option("How long the load may take.")
@click.option(
    "--run",
    "template",
    metavar="LINE",
    default="",
    help="Start QEMU by this command line, and restore into it. It is split into words as a shell "
    "would, and run without one. Places: {disk:NAME} image, {format:NAME} its format, {qmp} socket; "
    "{clone} a number, {uuid} and {mac}, other ones in each VM that is started.",
)
@click.option(
    "--clones",
    type=click.IntRange(min=1),
    metavar="N",
    help="Start N of them side by side from the snapshot's template, all or none; without --run by the "
    "command line that the template was made with.",
)
@click.option(
    "--spare",
    is_flag=True,
    help="Start it, and let it wait: the next load by the same command line takes it, and is there at "
    "once. With --clones N: so many.",
)
@click.option(
    "--no-template",
    "plainly",
    is_flag=True,
    help="With --run: read the machine state itself, also where the snapshot has a template.",
)
@click.option(
    "--qmp",
    "socket",
    metavar="PATH",
    default="",
    help="With --run: the socket for {qmp}; else the one of the VM that was saved. From a template: "
    "with {clone} in it where there are several; else that socket's name and the number.",
)
@click.option(
    "--copy-to",
    "copies",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Copy images there that would else be reverted, so that nothing that they hold now is lost. "
    "From a template: where new overlays are made.",
)
@click.option(
    "--reset",
    is_flag=True,
    help="With --vm: send `system_reset` first where QEMU lets no guest run else (internal-error, "
    "suspended before QEMU 9.0, a crash that is to be left paused). The guest's memory is lost then.",
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
@secret_option
@alone_option
@store_option
@progress_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    vm: str | None,
    offline: bool,
    name: str,
    run_state_after: str,
    deadline_s: float | None,
    template: str,
    clones: int | None,
    spare: bool,
    plainly: bool,
    socket: str,
    copies: str | None,
    reset: bool,
    yes: bool,
    changed: tuple[str, ...],
    accept_cpu: bool,
    alone: bool,
    keep: str,
    secrets: Secrets,
    store: Store,
    progress: str,
    as_json: bool,
) -> None:
    """Go back to a snapshot: every disk and the machine state, or nothing.

    With --vm it is loaded by a running VM, where all its parts are inside images. Without, it goes back
    into a fresh QEMU: the way is shown, or with --run LINE gone; --offline makes the disks ready and
    no more. Frozen images are never written again: a snapshot can be restored any number of times.
    Where the snapshot has a template (`snapplan template`), --run and --clones start from that, at once.

    All disks are checked before one is touched. A load that fails before a disk was reverted leaves
    the VM as it was; one that fails later leaves it stopped and says which disks were reverted.
    A snapshot of disks alone can be loaded with --offline only.
    """
    if bool(vm) + offline + bool(template or clones or spare) > 1:
        raise click.UsageError("give one of --vm ADDR, --offline, --run LINE and --clones N")
    if plainly and (clones or spare):
        raise click.UsageError("--clones N and --spare start from the template: no --no-template")
    check_name(name, vm, secrets)
    if keep and not vm:
        raise click.UsageError("--keep-current needs --vm ADDR")
    if reset and not vm:
        raise click.UsageError("--reset needs --vm ADDR")
    folder = os.path.realpath(copies) if copies else ""
    after = RunStateAfter(run_state_after)
    accepted = Accepted(accept_cpu, frozenset(changed))
    with TerminalReporter(progress, then=Then.WHOLE_OR_NOT if vm else Then.REMOVED) as reporter:
        if vm:
            wish = LoadWish(after, deadline_s, keep, accepted, reset, alone)

            async def work(backend: Backend) -> Loaded:
                return await load(context_of(backend, store, vm, reporter), source, wish)

            said, text = _loaded(run(connected(vm, work)))
        else:
            from planner.cli.load_without_vm import Cloning, load_without_vm  # noqa: PLC0415 - seldom needed
            from planner.verbs.restore_decision import RestoreWish  # noqa: PLC0415

            fresh = RestoreWish(template, socket, folder, after, deadline_s, accepted, alone)
            gone = offline_of(store, reporter, yes=yes, vm_name=name, secrets=secrets)
            cloning = Cloning(clones, spare=spare, never=plainly)
            said, text = run(load_without_vm(gone, source, fresh, cloning, ready=offline))
    if as_json:
        print_json(said)
    else:
        click.echo(text)


def _loaded(loaded: Loaded) -> tuple[dict[str, object], str]:
    loaded.outcome.raise_failure()
    return load_to_plain(loaded.order, loaded.outcome), load_text(loaded.order, loaded.outcome)
