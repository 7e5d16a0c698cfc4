"""`snapplan doctor`: what stands in the way of snapshots of a VM, as a report for an issue."""

from __future__ import annotations

import shutil

import click

from planner.cli.common import (
    facts_option,
    gather_facts,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.doctor.examining import examine, examine_around, examine_facts
from planner.doctor.finding import Area, Examination, Finding, Standing, wrong
from planner.errors import Problem, Violation
from planner.present.doctor_view import examination_text, examination_to_plain
from planner.run.ports import Backend, NoReply
from planner.store.finding import find_backend
from planner.store.store import Store

__all__ = ["command"]


@click.command("doctor")
@vm_option
@facts_option
@store_option
@json_option
def command(*, vm: str | None, facts_file: str | None, store: Store, as_json: bool) -> int:
    """Say what stands in the way of snapshots of a VM, and what each design can do there.

    Sockets, rights, versions, settings left on, unfinished runs, storage outside of QEMU's block layer.
    Without --vm: this machine, its QEMUs with their sockets, and the store. Changes nothing, and works
    where nothing answers. The report can be pasted into an issue: paths and names are in it, passwords,
    keys and the guest's memory are not.
    Exit 0: nothing is wrong; 30: something is.
    """
    if vm is not None and facts_file is not None:
        raise click.UsageError("give --vm ADDR or --facts FILE, not both")
    if vm is not None:
        found = run(examine(store, vm, _connect))
    elif facts_file is not None:
        found = examine_facts(store, gather_facts(None, facts_file))
    else:
        found = examine_around(store)
    found = Examination((*_tool_findings(), *found.findings), found.disks, found.designs)
    if as_json:
        print_json(examination_to_plain(found))
    else:
        click.echo(examination_text(found))
    return Violation.exit_code if found.wrong else 0


async def _connect(address: str) -> Backend:
    connect, place = find_backend(address)
    return await connect(place)


def _tool_findings() -> list[Finding]:
    """qemu-img as snapplan would start it."""
    from backends.images import qemu_img_program, run_qemu_img  # noqa: PLC0415 - it takes its time

    name = qemu_img_program()
    path = shutil.which(name) or name
    try:
        said = run_qemu_img(name, "--version").partition("\n")[0]
    except NoReply as failed:
        remedy = "install it (Debian: qemu-utils), or set SNAPPLAN_QEMU_IMG"
        return [wrong(Area.HOST, Problem("qemu-img-failed", path, str(failed), remedy))]
    return [Finding(Area.HOST, Standing.GOOD, "qemu-img", f"{path}: {said}")]
