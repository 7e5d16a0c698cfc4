"""`snapplan delete`: take a snapshot's parts away, and its manifest last."""

from __future__ import annotations

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
from planner.delete.delete_checks import (
    Overlays,
)
from planner.model.image_key import Secrets
from planner.present.delete_view import (
    delete_text,
    delete_to_plain,
    forgotten_text,
    forgotten_to_plain,
)
from planner.run.ports import Backend
from planner.store.store import Store
from planner.verbs.delete import Deleted, delete, delete_offline
from planner.verbs.forget import forget_snapshot

__all__ = ["command"]


@click.command("delete")
@manifest_argument
@vm_option
@offline_option
@name_option
@click.option(
    "--forget",
    is_flag=True,
    help="Take the record away and no part: for a snapshot whose images are gone.",
)
@click.option(
    "--overlays",
    type=click.Choice([choice.value for choice in Overlays]),
    help="Merge overlays back into the frozen images (commit), or leave the chain as it is (keep).",
)
@alone_option
@click.option("--yes", is_flag=True, help="Do not ask before anything is deleted.")
@secret_option
@store_option
@progress_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    vm: str | None,
    offline: bool,
    name: str,
    forget: bool,
    overlays: str | None,
    alone: bool,
    yes: bool,
    secrets: Secrets,
    store: Store,
    progress: str,
    as_json: bool,
) -> None:
    """Delete a snapshot: each part by id and name, the manifest last.

    Nothing is deleted that another manifest needs. A delete that was interrupted is finished by
    another one. --forget asks first where a part may still be there.
    """
    if bool(vm) + offline + forget != 1:
        raise click.UsageError("give one of --vm ADDR, --offline and --forget")
    check_name(name, vm, secrets)
    if forget:
        _forget(source, store, name, yes=yes, as_json=as_json)
        return
    choice = Overlays(overlays) if overlays else None
    with TerminalReporter(progress, then=Then.STAYS) as reporter:

        async def work(backend: Backend) -> Deleted:
            context = context_of(backend, store, vm or "", reporter, yes=yes)
            return await delete(context, source, choice, alone=alone)

        if vm:
            deleted = run(connected(vm, work))
        else:
            gone = offline_of(store, reporter, yes=yes, vm_name=name, secrets=secrets)
            deleted = run(delete_offline(gone, source, choice, alone=alone))
    deleted.outcome.raise_failure()
    if as_json:
        print_json(delete_to_plain(deleted.order))
    else:
        click.echo(delete_text(deleted.order))


def _forget(source: str, store: Store, name: str, *, yes: bool, as_json: bool) -> None:
    with TerminalReporter() as reporter:
        offline = offline_of(store, reporter, yes=yes, vm_name=name)
        forgotten = run(forget_snapshot(offline, source))
    if as_json:
        print_json(forgotten_to_plain(forgotten.tag, forgotten.left))
    else:
        click.echo(forgotten_text(forgotten.tag, forgotten.left))
