"""`snapplan gc`: what no snapshot needs any more."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from backends.images import QemuImages
from planner.cli.common import (
    connected,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.cli.stopping import stopped_by_signals
from planner.collect.garbage import (
    Garbage,
    collect_in_store,
    collect_on_vm,
    look_in_store,
    look_on_vm,
)
from planner.collect.unneeded import Orphan
from planner.present.gc_view import orphans_text, orphans_to_plain
from planner.store.store import Store

__all__ = ["command"]


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
    if yes:
        _tell(_collect(vm, store), removed=True, as_json=as_json)
        return
    found = _look(vm, store)
    agreed = _agreed(_orphans(found), as_json=as_json)
    if agreed:
        found = _collect(vm, store, found)
    _tell(found, removed=agreed, as_json=as_json)


def _look(vm: str | None, store: Store) -> Sequence[Garbage]:
    if not vm:
        return run(look_in_store(store, QemuImages()))
    return [
        run(
            connected(
                vm, lambda link: look_on_vm(link, vm, store, files_here=link.images is not None)
            )
        )
    ]


def _collect(
    vm: str | None, store: Store, agreed: Sequence[Garbage] | None = None
) -> Sequence[Garbage]:
    """Remove it; what is being removed when a signal comes is removed, which is short."""
    if not vm:
        return run(stopped_by_signals(collect_in_store(store, QemuImages(), agreed), _go_on))
    only = None if agreed is None else agreed[0]
    collecting = connected(
        vm,
        lambda link: collect_on_vm(
            link, vm, store, files_here=link.images is not None, agreed=only
        ),
    )
    return [run(stopped_by_signals(collecting, _go_on))]


def _go_on() -> None:
    """Nothing of it is undone, and the rest does not take long."""


def _orphans(garbage: Sequence[Garbage]) -> tuple[Orphan, ...]:
    return tuple(orphan for each in garbage for orphan in each.orphans)


def _agreed(orphans: Sequence[Orphan], *, as_json: bool) -> bool:
    """Whether somebody says that what can be removed is to be removed."""
    if not any(orphan.removable for orphan in orphans):
        return False
    if not sys.stdin.isatty() or as_json:
        return False  # it is said what would be removed, and that is all
    click.echo(orphans_text(orphans, removed=False), err=True)
    return click.confirm("Remove what can be removed?", err=True)


def _tell(garbage: Sequence[Garbage], *, removed: bool, as_json: bool) -> None:
    orphans = _orphans(garbage)
    if as_json:
        print_json(orphans_to_plain(orphans, removed=removed))
    else:
        click.echo(orphans_text(orphans, removed=removed))
