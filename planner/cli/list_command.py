"""`snapplan list`: a VM's snapshots, as the store records them and its disks hold them."""

from __future__ import annotations

import click

from backends.guest_agent import GuestAgent
from planner.cli.common import (
    connected,
    facts_option,
    gather_facts,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.cli.manifests import check_name, name_option
from planner.present.holdings_view import holdings_text, holdings_to_plain
from planner.present.restores_view import known_lines, known_to_plain
from planner.present.store_view import store_text, store_to_plain
from planner.present.visible import as_lines
from planner.run.ports import Backend
from planner.store.store import Store
from planner.verbs.context import Context
from planner.verbs.listing import Listed, list_by_facts, list_snapshots, list_store

__all__ = ["command"]


@click.command("list")
@vm_option
@facts_option
@name_option
@store_option
@json_option
def command(
    *, vm: str | None, facts_file: str | None, name: str, store: Store, as_json: bool
) -> None:
    """List a VM's snapshots by tag: what the store records, and what the disks hold.

    Without --vm: what the store records of all its VMs, or with --name of one; no disk is looked at.

    complete: every recorded part is there, and `verify` finds nothing; differs: something is not as it
    was saved; incomplete: a part is missing; foreign: not recorded.
    """
    check_name(name, vm or facts_file)
    if not vm and facts_file is None:
        stored = list_store(store, name)
        if as_json:
            print_json(store_to_plain(stored))
        else:
            click.echo(store_text(stored))
        return
    if vm and facts_file is None:

        async def work(backend: Backend) -> Listed:
            return await list_snapshots(Context(backend, store, vm, GuestAgent))

        listed = run(connected(vm, work))
    else:
        listed = list_by_facts(store, gather_facts(vm, facts_file), vm or "")
    if as_json:
        said = holdings_to_plain(listed.holdings, listed.problems, listed.unchecked)
        print_json({**said, "restores": [known_to_plain(each) for each in listed.restores]})
        return
    click.echo(holdings_text(listed.holdings, listed.problems, listed.unchecked))
    if listed.restores:
        click.echo(as_lines(known_lines(listed.restores)))
