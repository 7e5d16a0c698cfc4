"""`snapplan explore`: every run of a design, with every order, every guest and every fault."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import click
from attrs import field, frozen

from planner.cli.common import (
    facts_option,
    json_option,
    print_json,
    vm_option,
)
from planner.cli.explore_task import task_of
from planner.cli.progress_line import ProgressLine
from planner.cli.watching import again_when_changed
from planner.errors import Problem, SnapplanError, Violation
from planner.explore.back_properties import BACK_PROPERTY_IDS
from planner.explore.back_search import BackSearch
from planner.explore.layers import Layers
from planner.explore.limits import LIMIT_OPTIONS, InPause, Limits
from planner.explore.properties import PROPERTY_IDS
from planner.explore.search import Search
from planner.explore.state import ClientDeath
from planner.present.trace_pictures import trace_mermaid, trace_svg
from planner.present.trace_view import (
    Beside,
    Explored,
    Found,
    report_text,
    report_to_plain,
    verdict_line,
)
from planner.present.words import error_text
from planner.verbs.exploring import Strikes, Task

__all__ = ["command"]

_FAULTS = {"none": 0, "one": 1, "two": 2}
_PICTURES: dict[str, Callable[[Explored, Layers | None, Found | None], str]] = {
    "mermaid": trace_mermaid,
    "svg": trace_svg,
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
    "--pause-at-most",
    type=click.Choice([each.value for each in InPause]),
    default=InPause.ALL.value,
    show_default=True,
    help="Ask that no more of the memory is written while the guest stands still: no byte (tracking: "
    "it may be write-protected), what a live migration has left, or all, which asks nothing.",
)
@click.option(
    "--monitor-answers",
    is_flag=True,
    help="Ask that QEMU's monitor answers while machine state is written.",
)
@click.option(
    "--bound", type=click.IntRange(min=1), metavar="N", help="Follow no run beyond N moves."
)
@click.option(
    "--counterexample",
    "wanted",
    type=click.Choice(tuple(dict.fromkeys((*PROPERTY_IDS, *BACK_PROPERTY_IDS)))),
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
@click.option(
    "--watch",
    is_flag=True,
    help="Explore again whenever the design file, or the request, was written; Ctrl-C ends it.",
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
    pause_at_most: str,
    monitor_answers: bool,
    bound: int | None,
    wanted: str | None,
    form: str,
    no_reduction: bool,
    export: str | None,
    watch: bool,
    as_json: bool,
) -> int | None:
    """Explore every run of a design: every order, every guest, every fault.

    REQUEST is a request file, or a plan file, or - for stdin; of a design that loads or deletes, the
    request that saved the snapshot. The verdict on each property is printed, with the shortest run that
    violates one; then the exit code is 30. No VM is touched.
    """
    if export is not None and as_json:
        raise click.UsageError(
            "--export writes a model for SPIN, which is no JSON: leave --json out"
        )
    if watch and (as_json or export is not None or request == "-"):
        raise click.UsageError("--watch prints for a person, and reads its files again and again")
    limits = Limits(InPause(pause_at_most), monitor_answers)
    _must_be_asked(wanted, limits)
    strikes = Strikes(_FAULTS[faults], other_clients, ClientDeath(client_death), limits)
    wish = _Wish(bound or 0, wanted, form, export, reduced=not no_reduction, as_json=as_json)

    def once() -> int | None:
        return _explored(task_of(request, vm, facts_file, design, strikes), wish)

    if not watch:
        return once()
    files = [path for path in (request, facts_file, design) if path is not None]
    with contextlib.suppress(KeyboardInterrupt):
        again_when_changed(files, lambda: _told(once))
    return _INTERRUPTED


def _must_be_asked(wanted: str | None, limits: Limits) -> None:
    if wanted in LIMIT_OPTIONS and wanted not in limits.asked:
        raise click.UsageError(f"{wanted} is judged only where {LIMIT_OPTIONS[wanted]} asks for it")


@frozen
class _Wish:
    """How it is explored and told."""

    bound: int
    wanted: str | None
    form: str
    export: str | None
    reduced: bool = field(kw_only=True)
    as_json: bool = field(kw_only=True)


def _told(once: Callable[[], int | None]) -> None:
    """One run of many: what goes wrong is told, and is not the end."""
    click.clear()
    try:
        once()
    except SnapplanError as error:
        click.echo(error_text(error), err=True)


def _explored(task: Task, wish: _Wish) -> int | None:
    if wish.export is not None:
        click.echo(task.promela(), nl=False)
        return None
    search = task.search(wish.bound, reduced=wish.reduced)
    began = time.monotonic()
    finished = _search(search)
    elapsed_s = time.monotonic() - began
    report = search.report()
    found = _chosen(report, wish.wanted)
    if wish.wanted and found is None and finished:
        click.echo(f"snapplan: no run violates {wish.wanted}", err=True)
    layers = search.moves.layers if isinstance(search, Search) else None
    beside = Beside(task.rules(), task.left_out, elapsed_s)
    if wish.as_json:
        print_json(report_to_plain(report, layers, beside))
    elif wish.form == "brief":
        click.echo(verdict_line(report))
    elif wish.form != "text":
        click.echo(_PICTURES[wish.form](report, layers, found), nl=False)
    else:
        click.echo(report_text(report, layers, found, beside))
    return _exit(report, finished=finished, as_json=wish.as_json)


def _exit(report: Explored, *, finished: bool, as_json: bool) -> int | None:
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


def _violation(report: Explored) -> Violation:
    problems = tuple(
        Problem(found.property_id, report.setting.design, found.why) for found in report.violations
    )
    count = "1 property" if len(problems) == 1 else f"{len(problems)} properties"
    return Violation(
        f"design {report.setting.design} violates {count}",
        problems=problems,
        code="property-violated",
    )


def _chosen(report: Explored, wanted: str | None) -> Found | None:
    if wanted is None:
        return report.shortest
    named = (found for found in report.violations if found.property_id == wanted)
    return next(named, None)


def _search(search: Search | BackSearch) -> bool:
    """Search, with progress on a terminal; False where the user stopped it."""
    line = ProgressLine("exploring")
    line.start()
    try:
        for progress in search.run():
            line.update(
                f"depth {progress.depth}: {progress.states} states, "
                f"{progress.transitions} transitions, {progress.waiting} waiting"
            )
    except KeyboardInterrupt:
        return False
    finally:
        line.stop()
    return True
