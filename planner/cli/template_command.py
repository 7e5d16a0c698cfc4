"""`snapplan template`: makes a snapshot ready for instant restore."""

from __future__ import annotations

import os

import click

from planner.cli.asking import offline_of
from planner.cli.common import json_option, print_json, run, store_option
from planner.cli.manifests import manifest_argument, name_option
from planner.cli.reporter import TerminalReporter, Then, progress_option
from planner.cli.run_options import deadline_option
from planner.parts.accepting import Accepted
from planner.present.template_view import template_text, template_to_plain
from planner.store.store import Store
from planner.verbs.template import TemplateWish, drop_template, make_template

__all__ = ["command"]


@click.command("template")
@manifest_argument
@name_option
@click.option(
    "--run",
    "line",
    metavar="LINE",
    default="",
    help="The VM's command line. It is split into words as a shell would, and run without one. "
    "Places: {disk:NAME} image, {format:NAME} its format, {qmp} socket.",
)
@click.option(
    "--to",
    "folder",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Where the template's files are to be; else beside the machine state.",
)
@click.option(
    "--qmp",
    "socket",
    metavar="PATH",
    default="",
    help="Where the QEMU that makes it listens: for one that cannot reach a folder of snapplan's own.",
)
@click.option("--replace", is_flag=True, help="Make another one where there is one already.")
@click.option("--drop", is_flag=True, help="Take the template away; the snapshot stays.")
@deadline_option("How long QEMU may take to read the machine state.")
@click.option(
    "--accept-changed",
    "changed",
    metavar="DISK",
    multiple=True,
    help="Make it although this disk or drive, which is no part of the snapshot, holds something else "
    "now than it did then. Once for each.",
)
@click.option(
    "--accept-cpu",
    is_flag=True,
    help="Make it although the processor is another one than the guest knew.",
)
@store_option
@progress_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    name: str,
    line: str,
    folder: str | None,
    socket: str,
    replace: bool,
    drop: bool,
    deadline_s: float | None,
    changed: tuple[str, ...],
    accept_cpu: bool,
    store: Store,
    progress: str,
    as_json: bool,
) -> None:
    """Make a snapshot with machine state ready for instant restore, as often as you like.

    A QEMU that is started by LINE, on throw-away overlays, reads the snapshot once, without its guest
    running, into files: the memory, which a restored VM maps, and the state of the devices. Parts inside
    images are copied first. None of these files is ever written again. The snapshot stays as it is, and
    the VM that it is of may run on, where no part is inside an image that it has open.
    """
    if drop == bool(line):
        raise click.UsageError("give one of --run LINE and --drop")
    with TerminalReporter(progress, then=Then.STAYS if drop else Then.REMOVED) as reporter:
        offline = offline_of(store, reporter, yes=True, vm_name=name)
        if drop:
            manifest = run(drop_template(offline, source))
        else:
            where = os.path.realpath(folder) if folder else ""
            accepted = Accepted(accept_cpu, frozenset(changed))
            wish = TemplateWish(line, where, socket, replace, deadline_s, accepted)
            manifest = run(make_template(offline, source, wish))
    if as_json:
        print_json(template_to_plain(manifest))
    else:
        click.echo(template_text(manifest))
