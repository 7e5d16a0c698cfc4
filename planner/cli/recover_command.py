"""`snapplan recover`: finish or undo what an interrupted run left."""

from __future__ import annotations

from collections.abc import Sequence

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
from planner.cli.manifests import secret_option
from planner.cli.reporter import TerminalReporter, Then, progress_option
from planner.errors import CannotConnect
from planner.model.image_key import Secrets
from planner.present.recovery_view import (
    forgotten_to_plain,
    pending_text,
    pending_to_plain,
    recovered_text,
    recovered_to_plain,
)
from planner.recover.recovery import (
    Pending,
    Recovered,
    pending_runs,
)
from planner.store.store import Store
from planner.verbs.recover import forget, pending_at, raise_left, recover, recover_unreachable

__all__ = ["command"]


@click.command("recover")
@vm_option
@store_option
@click.option(
    "--forget",
    "gives_up",
    is_flag=True,
    help="Remove the journals of the VM's unfinished runs, and touch nothing else.",
)
@click.option("--yes", is_flag=True, help="Do not ask before journals are removed.")
@secret_option
@progress_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    vm: str | None,
    store: Store,
    gives_up: bool,
    yes: bool,
    secrets: Secrets,
    progress: str,
    as_json: bool,
) -> None:
    """Finish or undo what an interrupted run left.

    Without --vm it says what is pending and touches nothing.  A run is finished where all its steps
    had been done, else it is undone; where QEMU is gone, in its images.
    """
    if not vm and gives_up:
        raise click.UsageError("give --vm ADDR with --forget")
    if not vm:
        _show(pending_runs(store), as_json=as_json)
    elif gives_up:
        _forget(vm, store, yes=yes, as_json=as_json)
    else:
        with TerminalReporter(progress, then=Then.STAYS) as reporter:
            recovered = run(_recover(vm, store, reporter, secrets))
        _tell(recovered, as_json=as_json)


def _show(pending: Sequence[Pending], *, as_json: bool) -> None:
    if as_json:
        print_json(pending_to_plain(pending))
    else:
        click.echo(pending_text(pending))


def _tell(recovered: Sequence[Recovered], *, as_json: bool) -> None:
    raise_left(recovered)
    if as_json:
        print_json(recovered_to_plain(recovered))
    else:
        click.echo(recovered_text(recovered))


def _forget(address: str, store: Store, *, yes: bool, as_json: bool) -> None:
    """Give up recovery: somebody has put the VM in order by hand."""
    pending = pending_at(store, address)
    if not as_json:
        click.echo(pending_text(pending) if pending else "nothing to forget")
    with TerminalReporter() as reporter:
        forget(offline_of(store, reporter, yes=yes), pending)
    if as_json:
        print_json(forgotten_to_plain(pending))


async def _recover(
    address: str, store: Store, reporter: TerminalReporter, secrets: Secrets
) -> list[Recovered]:
    """Recover the runs of one VM, or of its images where its QEMU is gone."""
    try:
        return await connected(
            address,
            lambda backend: recover(context_of(backend, store, address, reporter, secrets=secrets)),
        )
    except CannotConnect as error:
        offline = offline_of(store, reporter, secrets=secrets)
        return await recover_unreachable(offline, address, error)
