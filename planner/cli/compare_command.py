"""`snapplan compare`: designs side by side for a request, predicted and measured."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import click

from backends.simulator import Simulator
from planner.cli.asking import context_of
from planner.cli.common import (
    connected,
    facts_option,
    gather_facts,
    json_option,
    print_json,
    read_file,
    run,
    store_option,
    vm_option,
    write_file,
)
from planner.cli.reporter import TerminalReporter, Then
from planner.compare.comparison import DesignReport, design_names
from planner.model.facts import Facts
from planner.model.request_text import read_request
from planner.present.compare_page import comparison_page
from planner.present.compare_plain import comparison_to_plain
from planner.present.compare_view import comparison_text
from planner.present.timeline import timeline_svg
from planner.run.ports import Backend
from planner.semantics import state_from_facts
from planner.store.store import Store
from planner.verbs.compare import CompareWish, compare, compare_by_facts, measure_simulated

__all__ = ["command"]


@click.command("compare")
@click.argument("request", type=click.Path(dir_okay=False, allow_dash=True))
@vm_option
@facts_option
@click.option(
    "--designs",
    default="",
    metavar="A,B",
    help="Which designs; by default all that can be sent. Also names of design files, or paths of "
    "some: they are explored only.",
)
@click.option(
    "--measure",
    is_flag=True,
    help="Take a real snapshot in each design, under the tag snapplan-compare-DESIGN, measure it, "
    "and delete it again. The guest is paused each time.",
)
@click.option(
    "--streams-to",
    default="",
    metavar="DIR",
    help="Where --measure writes machine state to files, which it removes again; by default beside the "
    "file that the request names, else beside the first disk's image.",
)
@click.option(
    "--repeat",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    metavar="N",
    help="Measure each design so often, in rounds of chance order: medians, quartiles, and whether "
    "a difference is seen. One run each misleads; from 5 on it is said.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    metavar="N",
    help="Repeat the order of an earlier --repeat, which names its seed.",
)
@click.option(
    "--simulate",
    is_flag=True,
    help="As --measure, on a simulated VM made from the facts: no VM is touched. The times are the "
    "simulator's.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "svg"]),
    default="text",
    show_default=True,
    help="svg: a timeline for each design.",
)
@click.option(
    "--html",
    "html_file",
    default="",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write the comparison, table and timelines, as one HTML page that needs no network.",
)
@store_option
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    request: str,
    vm: str | None,
    facts_file: str | None,
    designs: str,
    measure: bool,
    streams_to: str,
    repeat: int,
    seed: int | None,
    simulate: bool,
    form: str,
    html_file: str,
    store: Store,
    as_json: bool,
) -> None:
    """Compare designs for a request: what each can, sends, pauses, promises and leaves.

    REQUEST is a YAML or JSON file, or - for stdin. Without --measure a VM is asked questions only.
    """
    read = read_request(read_file(request), request)
    folder = str(Path(streams_to).resolve()) if streams_to else ""
    seed = _seed(seed, repeat)
    wish = CompareWish(read, design_names(designs), measure, folder, repeat, seed)
    _check_together(wish, simulate=simulate, of_a_vm=vm is not None and facts_file is None)
    reports = _reports(wish, vm, facts_file, store, simulate=simulate)
    if html_file:
        title = f"Designs for snapshot {read.request.tag!r}"
        write_file(html_file, comparison_page(title, reports, simulated=simulate, seed=seed))
    elif as_json:
        print_json(comparison_to_plain(reports, simulated=simulate, seed=seed))
    elif form == "svg":
        click.echo(timeline_svg(reports), nl=False)
    else:
        click.echo(comparison_text(reports, simulated=simulate, seed=seed))


def _reports(
    wish: CompareWish, vm: str | None, facts_file: str | None, store: Store, *, simulate: bool
) -> tuple[DesignReport, ...]:
    facts: Facts | None = None
    with TerminalReporter(then=Then.UNDONE) as reporter:
        if vm is not None and facts_file is None:

            async def work(backend: Backend) -> tuple[DesignReport, ...]:
                return await compare(context_of(backend, store, vm, reporter), wish)

            reports = run(connected(vm, work))
        else:
            facts = gather_facts(vm, facts_file)  # once: it may be standard input
            reports = compare_by_facts(wish, facts)
        if simulate:
            facts = facts or gather_facts(vm, facts_file)
            reports = run(_simulated(facts, wish, reports, store, reporter))
    return reports


def _seed(wished: int | None, repeat: int) -> int:
    if repeat == 1:
        return 0
    return secrets.randbelow(2**32) if wished is None else wished


def _check_together(wish: CompareWish, *, simulate: bool, of_a_vm: bool) -> None:
    """Options that say nothing together are refused before anything is asked of a VM."""
    if wish.measure and simulate:
        raise click.UsageError("--measure is of a VM, --simulate of none: give one of them")
    if wish.measure and not of_a_vm:
        raise click.UsageError("--measure needs a running VM: give --vm ADDR")
    if wish.streams_to and not wish.measure:
        raise click.UsageError("--streams-to is for --measure")
    if wish.repeat > 1 and not (wish.measure or simulate):
        raise click.UsageError("--repeat is for --measure and --simulate")


async def _simulated(
    facts: Facts,
    wish: CompareWish,
    reports: tuple[DesignReport, ...],
    store: Store,
    reporter: TerminalReporter,
) -> tuple[DesignReport, ...]:
    with tempfile.TemporaryDirectory(prefix="snapplan-") as folder:
        socket = str(Path(folder) / "qmp.sock")
        async with Simulator(state_from_facts(facts)) as simulator:
            simulator.listen(Path(socket))

            async def use(backend: Backend) -> tuple[DesignReport, ...]:
                context = context_of(backend, store, socket, reporter)
                return await measure_simulated(context, wish, reports)

            return await connected(socket, use)
