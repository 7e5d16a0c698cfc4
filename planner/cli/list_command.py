"""`snapplan list`: a VM's snapshots, as the store records them and its disks hold them."""

from __future__ import annotations

from collections.abc import Sequence

import click
from attrs import frozen

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
    write_file,
)
from planner.cli.manifests import check_name, name_option
from planner.host.room import allocated_bytes
from planner.present.holdings_view import holdings_text, holdings_to_plain
from planner.present.restores_view import known_lines, known_to_plain
from planner.present.shown_snapshot import ShownSnapshot, shown_holding, shown_stored
from planner.present.store_page import PageVm, store_page
from planner.present.store_view import store_text, store_to_plain
from planner.present.tree_view import tree_text
from planner.present.visible import as_lines
from planner.run.ports import Backend
from planner.store.store import Store
from planner.verbs.context import Context
from planner.verbs.listing import (
    Listed,
    StoredSnapshots,
    list_by_facts,
    list_snapshots,
    list_store,
)

__all__ = ["command"]


@click.command("list")
@vm_option
@facts_option
@name_option
@click.option("--tree", is_flag=True, help="As a tree: parents, children, and the VM's own.")
@click.option(
    "--html",
    "html_file",
    default="",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write one HTML page that needs no network: the tree, parts, sizes, standing.",
)
@store_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    vm: str | None,
    facts_file: str | None,
    name: str,
    tree: bool,
    html_file: str,
    store: Store,
    as_json: bool,
) -> None:
    """List a VM's snapshots by tag: what the store records, and what the disks hold.

    Without --vm: what the store records of all its VMs, or with --name of one; no disk is looked at.

    complete: every recorded part is there, and `verify` finds nothing; differs: something is not as it
    was saved; incomplete: a part is missing; foreign: not recorded.
    """
    check_name(name, vm or facts_file)
    if tree + bool(html_file) + as_json > 1:
        raise click.UsageError("give one of --tree, --html and --json; JSON has the parents too")
    shape = _Shape(tree, html_file, as_json)
    if not vm and facts_file is None:
        stored = list_store(store, name)
        _show_store(stored, store, shape)
        return
    if vm and facts_file is None:

        async def work(backend: Backend) -> Listed:
            return await list_snapshots(Context(backend, store, vm, GuestAgent))

        listed = run(connected(vm, work))
    else:
        listed = list_by_facts(store, gather_facts(vm, facts_file), vm or "")
    _show_vm(listed, vm or facts_file or "", shape)


@frozen
class _Shape:
    """How it is shown."""

    tree: bool
    html_file: str
    as_json: bool


def _show_store(stored: Sequence[StoredSnapshots], store: Store, shape: _Shape) -> None:
    shown = [(each, shown_stored(each)) for each in stored]
    if shape.html_file:
        vms = [_stored_page(each, snapshots) for each, snapshots in shown]
        _write_page(f"Snapshots in {store.root}", vms, shape)
    elif shape.as_json:
        print_json(store_to_plain(stored))
    elif shape.tree:
        click.echo(tree_text([(each.vm.called, snapshots) for each, snapshots in shown]))
    else:
        click.echo(store_text(stored))


def _stored_page(each: StoredSnapshots, snapshots: tuple[ShownSnapshot, ...]) -> PageVm:
    about = [each.vm.uuid] if each.vm.uuid and each.vm.uuid != each.vm.called else []
    about += [f"last met at {each.vm.address}"] if each.vm.address else []
    notes: tuple[str, ...] = ("As recorded: no disk was looked at.",)
    if each.unfinished:
        notes += (f"{each.unfinished} unfinished: snapplan recover",)
    return PageVm(each.vm.called, tuple(about), snapshots, each.problems, notes)


def _show_vm(listed: Listed, called: str, shape: _Shape) -> None:
    snapshots = tuple(shown_holding(each) for each in listed.holdings)
    if shape.html_file:
        notes = tuple(f"not checked: {each}" for each in listed.unchecked)
        one = PageVm(called, (), snapshots, listed.problems, notes)
        _write_page(f"Snapshots of {called}", [one], shape)
        return
    if shape.as_json:
        said = holdings_to_plain(listed.holdings, listed.problems, listed.unchecked)
        print_json({**said, "restores": [known_to_plain(each) for each in listed.restores]})
        return
    if shape.tree:
        click.echo(tree_text([(called, snapshots)]))
        return
    click.echo(holdings_text(listed.holdings, listed.problems, listed.unchecked))
    if listed.restores:
        click.echo(as_lines(known_lines(listed.restores)))


def _write_page(title: str, vms: Sequence[PageVm], shape: _Shape) -> None:
    files = {part.file for vm in vms for each in vm.snapshots for part in each.parts}
    here = allocated_bytes(file for file in files if file.startswith("/"))
    write_file(shape.html_file, store_page(title, vms, here))
