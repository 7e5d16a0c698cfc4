"""`snapplan compare`: designs side by side for a request, predicted and measured."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from attrs import evolve, frozen

from backends.simulator import Simulator
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
)
from planner.cli.reporter import TerminalReporter
from planner.cli.stopping import stopped_by_signals
from planner.cli.verdicts import compare_and_explore
from planner.compare.comparison import DesignReport, design_names
from planner.compare.measuring import Measuring, ask_memory
from planner.model.facts import Facts
from planner.model.request_text import ReadRequest, read_request
from planner.present.compare_view import comparison_text, comparison_to_plain
from planner.present.timeline import timeline_svg
from planner.program.program import Program, Target
from planner.run.ports import Backend
from planner.run.pump import ask_facts
from planner.save.applying import check_nothing_pending
from planner.semantics import state_from_facts
from planner.store.meeting import meet
from planner.store.store import Store

__all__ = ["command"]


@frozen
class _Wish:
    """What the command line asks for."""

    read: ReadRequest
    designs: tuple[str, ...]
    measure: bool
    simulate: bool
    streams_to: str


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
    simulate: bool,
    form: str,
    store: Store,
    as_json: bool,
) -> None:
    """Compare designs for a request: what each can, sends, pauses, promises and leaves.

    REQUEST is a YAML or JSON file, or - for stdin. Without --measure a VM is asked questions only.
    """
    read = read_request(read_file(request), request)
    folder = str(Path(streams_to).resolve()) if streams_to else ""
    wish = _Wish(read, design_names(designs), measure, simulate, folder)
    if measure and simulate:
        raise click.UsageError("--measure is of a VM, --simulate of none: give one of them")
    if measure and (vm is None or facts_file is not None):
        raise click.UsageError("--measure needs a running VM: give --vm ADDR")
    if streams_to and not measure:
        raise click.UsageError("--streams-to is for --measure")
    reports = _compare(wish, vm, facts_file, store)
    if as_json:
        print_json(comparison_to_plain(reports, simulated=simulate))
    elif form == "svg":
        click.echo(timeline_svg(reports), nl=False)
    else:
        click.echo(comparison_text(reports, simulated=simulate))


def _compare(
    wish: _Wish, vm: str | None, facts_file: str | None, store: Store
) -> tuple[DesignReport, ...]:
    if wish.measure and vm is not None:
        with TerminalReporter() as reporter:
            return run(connected(vm, lambda backend: _on_vm(backend, wish, vm, store, reporter)))
    facts, memory = _facts_and_memory(vm, facts_file)
    reports = compare_and_explore(wish.read, facts, wish.designs, memory)
    if not wish.simulate:
        return reports
    with TerminalReporter() as reporter:
        return run(_simulated(facts, wish, reports, reporter))


def _facts_and_memory(vm: str | None, facts_file: str | None) -> tuple[Facts, int | None]:
    if vm is None or facts_file is not None:
        return gather_facts(vm, facts_file), None
    return run(connected(vm, _ask_both))


async def _ask_both(backend: Backend) -> tuple[Facts, int | None]:
    return await ask_facts(backend), await ask_memory(backend)


async def _on_vm(
    backend: Backend, wish: _Wish, address: str, store: Store, reporter: TerminalReporter
) -> tuple[DesignReport, ...]:
    # It makes snapshots and takes them away: under the VM's lock, as whatever changes a VM.
    met = await meet(backend, store, address)
    backend = met.backend
    with met.locked() as vm:
        check_nothing_pending(vm)
        facts, memory = await _ask_both(backend)
        reports = compare_and_explore(wish.read, facts, wish.designs, memory)
        host = backend.host
        measuring = Measuring(
            backend, wish.read, backend.images, host, wish.streams_to, tell=reporter.note
        )
        return await _measured(
            measuring, facts, reports, _runnable(reports, reporter, host_is_here=host is not None)
        )


async def _simulated(
    facts: Facts, wish: _Wish, reports: tuple[DesignReport, ...], reporter: TerminalReporter
) -> tuple[DesignReport, ...]:
    with tempfile.TemporaryDirectory(prefix="snapplan-") as folder:
        socket = Path(folder) / "qmp.sock"
        async with Simulator(state_from_facts(facts)) as simulator:
            simulator.listen(socket)

            async def use(backend: Backend) -> tuple[DesignReport, ...]:
                # no images: the facts may name files of this machine, and they are not this VM's
                measuring = Measuring(backend, wish.read, tell=reporter.note)
                inside = _runnable(reports, reporter, host_is_here=False)
                return await _measured(measuring, await ask_facts(backend), reports, inside)

            return await connected(str(socket), use)


def _runnable(
    reports: tuple[DesignReport, ...], reporter: TerminalReporter, *, host_is_here: bool
) -> tuple[str, ...]:
    """The designs to run; says which are not run, and why."""
    able = _able(reports)
    inside = tuple(name for name in able if host_is_here or not _on_host(able[name]))
    for name in able:
        if name not in inside:
            reporter.note(f"{name} is not run: its files would be on a host that is not there")
    return inside


def _able(reports: tuple[DesignReport, ...]) -> dict[str, Program]:
    return {r.design: r.program for r in reports if r.program and not r.problems}


def _on_host(program: Program) -> bool:
    return any(step.target is Target.HOST for step in program.steps)


async def _measured(
    measuring: Measuring,
    facts: Facts,
    reports: tuple[DesignReport, ...],
    designs: tuple[str, ...],
) -> tuple[DesignReport, ...]:
    measured = await stopped_by_signals(measuring.measure(facts, designs), measuring.interrupt)
    return tuple(evolve(report, measured=measured.get(report.design)) for report in reports)
