"""`snapplan adopt`: record a snapshot that somebody else made."""

from __future__ import annotations

import click

from planner.cli.asking import context_of
from planner.cli.common import connected, json_option, print_json, run, store_option, vm_option
from planner.cli.reporter import TerminalReporter
from planner.present.adopt_view import adopted_text, adopted_to_plain
from planner.run.ports import Backend
from planner.store.store import Store
from planner.verbs.adopt import Adopted, adopt

__all__ = ["command"]


@click.command("adopt")
@click.argument("tag", metavar="TAG")
@vm_option
@click.option(
    "--exclude",
    metavar="DISK",
    multiple=True,
    help="A writable disk that is no part of the snapshot: a load leaves it as it is. Once for each.",
)
@store_option
@json_option
def command(
    *, tag: str, vm: str | None, exclude: tuple[str, ...], store: Store, as_json: bool
) -> None:
    """Record a snapshot that qemu-img, savevm, libvirt or another tool made inside the VM's images.

    Every writable disk must hold exactly one snapshot of the tag, all of one instant (vm-clock), one of
    them with machine state, or none. What cannot be checked is recorded and said. No disk is changed;
    then `verify`, `load` and `delete` know it.
    """
    if not vm:
        raise click.UsageError("give --vm ADDR")
    with TerminalReporter() as reporter:

        async def work(backend: Backend) -> Adopted:
            return await adopt(context_of(backend, store, vm, reporter), tag, exclude)

        adopted = run(connected(vm, work))
    said = adopted.manifest, str(adopted.path)
    if as_json:
        print_json(adopted_to_plain(*said))
    else:
        click.echo(adopted_text(*said))
