"""`snapplan gc`: what no snapshot needs any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import click

from planner.cli.asking import ask_person, can_ask, context_of, offline_of
from planner.cli.common import (
    connected,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.cli.reporter import TerminalReporter, Then
from planner.present.gc_view import orphans_text, orphans_to_plain
from planner.store.store import Store
from planner.verbs.collect import Collected, collect, look_for_garbage
from planner.verbs.context import Context, Offline

__all__ = ["command"]

_Verb = Callable[[Context | Offline], Awaitable[Collected]]


@click.command("gc")
@vm_option
@click.option("--yes", is_flag=True, help="Do not ask before anything is removed.")
@store_option
@json_option
def command(*, vm: str | None, yes: bool, store: Store, as_json: bool) -> None:
    """Find what no snapshot needs any more, say what would be removed, and remove it with --yes.

    With --vm that VM's manifests, disks and folders are looked at; without it those of every VM of the
    store whose images nobody has open. What is not provably snapplan's is shown and left alone.
    """
    found = _do(collect if yes else look_for_garbage, vm, store)
    if not yes and _agreed(found, as_json=as_json):
        found = _do(lambda context: collect(context, found), vm, store)
    if as_json:
        print_json(orphans_to_plain(found.orphans, removed=found.removed))
    else:
        click.echo(orphans_text(found.orphans, removed=found.removed))


def _do(verb: _Verb, vm: str | None, store: Store) -> Collected:
    with TerminalReporter(then=Then.STAYS) as reporter:

        async def work() -> Collected:
            if not vm:
                return await verb(offline_of(store, reporter))
            return await connected(
                vm, lambda backend: verb(context_of(backend, store, vm, reporter))
            )

        return run(work())


def _agreed(found: Collected, *, as_json: bool) -> bool:
    """Whether somebody says that what can be removed is to be removed."""
    if not found.removable:
        return False
    if not can_ask() or as_json:
        return False  # it is said what would be removed, and that is all
    click.echo(orphans_text(found.orphans, removed=False), err=True)
    ask_person("Remove what can be removed?")
    return True
