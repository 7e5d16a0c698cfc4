"""`snapplan explore`: every run of a design, with every order, every guest and every fault."""

from __future__ import annotations

import time
from collections.abc import Callable

import click
from attrs import frozen
from rich.console import Console

from planner.cli.common import (
    facts_option,
    gather_facts,
    json_option,
    print_json,
    read_file,
    vm_option,
)
from planner.compile.designs import DESIGNS
from planner.compile.plan import compile_request
from planner.compile.plan_text import is_plan, read_plan
from planner.compile.resolve import resolve
from planner.errors import Problem, Violation
from planner.explore.instruction import Instruction
from planner.explore.laying import lay
from planner.explore.moves import Reductions
from planner.explore.properties import PROPERTY_IDS
from planner.explore.rules_say import rules_say
from planner.explore.search import Counterexample, Search, SearchReport
from planner.explore.setting_of import instructions_of, setting_of
from planner.explore.state import ClientDeath
from planner.model.facts import Facts
from planner.model.request_text import read_request
from planner.present.trace_view import (
    Beside,
    report_text,
    report_to_plain,
    trace_mermaid,
    trace_svg,
    verdict_line,
)
from planner.present.words import error_text
from planner.program.resolution import Resolution
from planner.verbs.design_files import find_design

__all__ = ["command"]

_FAULTS = {"none": 0, "one": 1, "two": 2}
_COMPILED = ("auto", *(design.name for design in DESIGNS))
_PICTURES: dict[str, Callable[[SearchReport, Search, Counterexample | None], str]] = {
    "mermaid": lambda report, search, found: trace_mermaid(report, search.moves.layers, found),
    "svg": lambda report, search, found: trace_svg(report, search.moves.layers, found),
}
_INTERRUPTED = 130


@click.command("explore")
@click.argument("request", type=click.Path(dir_okay=False, allow_dash=True))
@vm_option
@facts_option
@click.option(
    "--design",
    default="auto",
    show_default=True,
    metavar="NAME|FILE",
    help="A design's name, or a design file (specs/designs has some to copy).",
)
@click.option(
    "--faults",
    type=click.Choice(list(_FAULTS)),
    default="one",
    show_default=True,
    help="How many may strike a run: error replies, write errors, lost connections, QEMU's death.",
)
@click.option(
    "--other-clients", is_flag=True, help="Let other QMP clients act; it counts as a fault."
)
@click.option(
    "--client-death",
    type=click.Choice([death.value for death in ClientDeath]),
    default=ClientDeath.NEVER.value,
    show_default=True,
    help="Let the client die, which counts as a fault: nobody comes after it, or recover does.",
)
@click.option(
    "--bound", type=click.IntRange(min=1), metavar="N", help="Follow no run beyond N moves."
)
@click.option(
    "--counterexample",
    "wanted",
    type=click.Choice(PROPERTY_IDS),
    metavar="PROPERTY",
    help="Show how this property is violated, instead of the shortest run that violates any.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "brief", *_PICTURES]),
    default="text",
    show_default=True,
    help="brief: the verdict in one line, the same every time; mermaid, svg: a sequence diagram.",
)
@click.option("--no-reduction", is_flag=True, help="Leave nothing out: slower, the same verdicts.")
@click.option(
    "--export", type=click.Choice(["promela"]), help="Write the model for SPIN, and do not search."
)
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    request: str,
    vm: str | None,
    facts_file: str | None,
    design: str,
    faults: str,
    other_clients: bool,
    client_death: str,
    bound: int | None,
    wanted: str | None,
    form: str,
    no_reduction: bool,
    export: str | None,
    as_json: bool,
) -> int | None:
    """Explore every run of a design: every order, every guest, every fault.

    REQUEST is a request file, or a plan file, or - for stdin. The verdict on each property is printed,
    with the shortest run that violates one; then the exit code is 30. No VM is touched.
    """
    if export is not None and as_json:
        raise click.UsageError(
            "--export writes a model for SPIN, which is no JSON: leave --json out"
        )
    laid = _what(request, vm, facts_file, design)
    setting = setting_of(
        laid.resolution,
        laid.instructions,
        laid.design,
        laid.facts,
        faults=_FAULTS[faults],
        other_clients=other_clients,
        client_death=ClientDeath(client_death),
    )
    if export is not None:
        from planner.explore.promela import promela  # noqa: PLC0415 - rarely needed

        click.echo(promela(setting), nl=False)
        return None
    reductions = Reductions.none() if no_reduction else Reductions()
    search = Search(setting, reductions, bound or 0)
    began = time.monotonic()
    finished = _search(search)
    elapsed_s = time.monotonic() - began
    report = search.report()
    found = _chosen(report, wanted)
    rules = rules_say(laid.instructions, laid.resolution)
    beside = Beside(rules, laid.left_out, elapsed_s)
    if as_json:
        print_json(report_to_plain(report, search.moves.layers, beside))
    elif form == "brief":
        click.echo(verdict_line(report))
    elif form != "text":
        click.echo(_PICTURES[form](report, search, found), nl=False)
    else:
        click.echo(report_text(report, search.moves.layers, found, beside))
    return _exit(report, finished=finished, as_json=as_json)


def _exit(report: SearchReport, *, finished: bool, as_json: bool) -> int | None:
    if not finished:
        click.echo("snapplan: stopped; the report says what is known so far", err=True)
        return _INTERRUPTED
    if not report.violations:
        return None
    error = _violation(report)
    if as_json:  # the report is the one JSON object on stdout
        click.echo(error_text(error), err=True)
        return error.exit_code
    raise error


def _violation(report: SearchReport) -> Violation:
    problems = tuple(
        Problem(found.property_id, report.setting.design, found.why) for found in report.violations
    )
    count = "1 property" if len(problems) == 1 else f"{len(problems)} properties"
    return Violation(
        f"design {report.setting.design} violates {count}",
        problems=problems,
        code="property-violated",
    )


def _chosen(report: SearchReport, wanted: str | None) -> Counterexample | None:
    if wanted is None:
        return report.shortest
    return next((found for found in report.violations if found.property_id == wanted), None)


def _search(search: Search) -> bool:
    """Search, with progress on a terminal; False where the user stopped it."""
    console = Console(stderr=True)
    try:
        with console.status("exploring") as status:
            for progress in search.run():
                status.update(
                    f"depth {progress.depth}: {progress.states} states, "
                    f"{progress.transitions} transitions, {progress.waiting} waiting"
                )
    except KeyboardInterrupt:
        return False
    return True


@frozen
class _Laid:
    """What is explored, and where it is from."""

    resolution: Resolution
    instructions: tuple[Instruction, ...]
    design: str
    facts: Facts | None
    left_out: tuple[tuple[str, str], ...] = ()


def _what(source: str, vm: str | None, facts_file: str | None, design: str) -> _Laid:
    """What to explore: a plan's program, a compiled request, or a design file over a request."""
    text = read_file(source)
    given = facts_file is not None or vm is not None
    if is_plan(text):
        if design != "auto":
            raise click.UsageError("a plan file has its design; --design goes with a request")
        program = read_plan(text, source).program
        facts = gather_facts(vm, facts_file) if given else None
        return _Laid(program.resolution, instructions_of(program), program.design, facts)
    facts = gather_facts(vm, facts_file)
    read = read_request(text, source)
    if design in _COMPILED:
        program = compile_request(read, facts, design).program
        return _Laid(program.resolution, instructions_of(program), program.design, facts)
    proposal = find_design(design)
    resolution = resolve(read, facts)
    laid = lay(proposal, resolution)
    return _Laid(resolution, laid.instructions, proposal.name, facts, laid.left_out)
