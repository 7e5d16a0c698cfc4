"""`snapplan restore`: what `load --run` has started and made."""

from __future__ import annotations

import click

from planner.cli.asking import offline_of
from planner.cli.common import json_option, print_json, run, store_option
from planner.cli.reporter import TerminalReporter, Then
from planner.present.restores_view import (
    dropped_text,
    promoted_text,
    restores_text,
    restores_to_plain,
)
from planner.store.store import Store
from planner.verbs.restores import drop_restore, list_restores, promote_restore

__all__ = ["command"]


@click.command("restore")
@click.argument("action", metavar="[list|promote|drop]", default="list")
@click.argument("restore", metavar="[RESTORE]", default="")
@click.option("--yes", is_flag=True, help="Do not ask before files are removed.")
@store_option
@json_option
def command(*, action: str, restore: str, yes: bool, store: Store, as_json: bool) -> None:
    """List, promote or drop restores: the VMs that `load --run` started, and the files it made.

    A snapshot with external parts goes back on new files. RESTORE is called TAG.restored-NUMBER.

    list shows the restores of every VM of the store.

    promote has its disks be the VM's from now on, and says how QEMU is to be started. No image is
    touched. What was the VM's disk before is set aside, until it is dropped; to promote the same
    restore again changes back.

    drop removes the files of a restore whose QEMU has ended, or those that were set aside. What a
    guest wrote to them is lost. Refused while a QEMU has one open, and where a snapshot needs one.

    To have its overlays merged, promote it, drop what was set aside, and `delete TAG --overlays commit`.
    """
    if action not in ("list", "promote", "drop"):
        raise click.UsageError(f"{action!r} is none of list, promote and drop")
    if bool(restore) == (action == "list"):
        raise click.UsageError("name a RESTORE to promote or drop; `list` takes none")
    if action == "promote":
        promoted = promote_restore(store, restore)
        said = restores_to_plain((promoted.known,), promoted=promoted)
        text = promoted_text(promoted)
    elif action == "drop":
        with TerminalReporter(then=Then.STAYS) as reporter:
            dropped = run(drop_restore(offline_of(store, reporter, yes=yes), restore))
        said = restores_to_plain((), removed=dropped.there)
        text = dropped_text(dropped)
    else:
        known, problems = list_restores(store)
        said, text = restores_to_plain(known, problems), restores_text(known, problems)
    if as_json:
        print_json(said)
    else:
        click.echo(text)
