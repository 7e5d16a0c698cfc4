"""`snapplan experiment`: many runs from one file, their statistics, and a page."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from planner.cli.common import json_option, print_json, read_file, write_file
from planner.cli.reporter import TerminalReporter, progress_option
from planner.errors import Refused, RunFailed, in_order
from planner.experiment.asking import versions_of
from planner.experiment.experiment import Case, Experiment, Kind, cases_of
from planner.experiment.folder import About, Folder
from planner.experiment.page import results_page
from planner.experiment.reading import read_experiment
from planner.experiment.result import CaseResult, State
from planner.experiment.running import (
    at_a_cluster,
    in_processes,
    on_workers,
    one_by_one,
    workers_installed,
)
from planner.experiment.views import results_csv, results_text, results_to_plain
from planner.host.input import read_text_file
from planner.present.words import error_text
from planner.verbs.design_files import built_in_designs

__all__ = ["command"]

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.group("experiment")
def command() -> None:
    """Run many cases from one file, with statistics, and a page (docs/experiments.md)."""


@command.command("run")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "-o",
    "--output",
    "folder",
    required=True,
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Where the results go. An experiment that was stopped goes on there.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Cases at once, in processes of this machine [default: its processors; 1 where QEMU is "
    "measured, since each would slow the others down].",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Run the cases on the workers of this Dask scheduler, such as tls://HOST:8786.",
)
@progress_option
@json_option
def run(  # noqa: PLR0913 - one parameter an option
    *,
    file: str,
    folder: str,
    jobs: int | None,
    scheduler: str | None,
    progress: str,
    as_json: bool,
) -> int | None:
    """Run an experiment: every case of FILE, in an order of chance.

    Everything is checked before the first case. Each result is in FOLDER as soon as it is there, so a
    run that is stopped or killed goes on with the same command; a case that came to nothing is tried
    again. QEMU is started for it: no VM of yours is touched.
    """
    if jobs is not None and scheduler is not None:
        raise click.UsageError("--scheduler has its own workers: leave --jobs out")
    text = read_file(file)
    experiment = read_experiment(
        text,
        file,
        tuple(built_in_designs()),
        read_text_file,
        lambda name: built_in_designs()[name].read_text(encoding="utf-8"),
    )
    # Elsewhere the programs are the workers' own: each says which version its QEMU is.
    versions = {} if scheduler is not None else versions_of(experiment)
    cases = cases_of(experiment, versions)
    kept, about = Folder(Path(folder)), About.of(experiment, len(cases))
    with _stopped_as_by_ctrl_c(), kept.held(), TerminalReporter(progress) as reporter:
        left = kept.left(cases)
        kept.begin(about, text)
        if len(left) < len(cases):
            reporter.note(f"{len(cases) - len(left)} of {len(cases)} cases are done already")
        with _results(left, experiment, jobs, scheduler, reporter) as results:
            _keep(results, kept, left, reporter)
        _write_all(kept, about, reporter)
    return _tell(kept, about, as_json=as_json)


@contextmanager
def _results(
    cases: Sequence[Case],
    experiment: Experiment,
    jobs: int | None,
    scheduler: str | None,
    reporter: TerminalReporter,
) -> Iterator[Iterator[CaseResult]]:
    """Results, from here, from processes of this machine, or from a cluster."""
    if not cases:
        yield iter(())
    elif scheduler is not None:
        with (
            at_a_cluster(scheduler) as client,
            closing(on_workers(client, cases, reporter.note)) as results,
        ):
            yield results
    elif (count := min(_jobs(jobs, experiment, reporter), len(cases))) > 1:
        with (
            in_processes(count) as client,
            closing(on_workers(client, cases, reporter.note)) as results,
        ):
            yield results
    else:
        yield one_by_one(cases)


def _jobs(wished: int | None, experiment: Experiment, reporter: TerminalReporter) -> int:
    if wished is not None:
        if wished > 1 and experiment.kind is Kind.MEASURE:
            reporter.note(
                "several QEMUs at once on one machine slow each other down: times say less"
            )
        return wished
    processors = len(os.sched_getaffinity(0))
    if experiment.kind is Kind.MEASURE or processors == 1:
        return 1
    if not workers_installed():
        reporter.note("one case at a time: pip install 'snapplan[experiments]' for several at once")
        return 1
    return processors


def _keep(
    results: Iterator[CaseResult],
    kept: Folder,
    cases: Sequence[Case],
    reporter: TerminalReporter,
) -> None:
    words = {case.id: case.words for case in cases}
    if cases:
        reporter.step(1, len(cases), cases[0].words)
    for number, result in enumerate(results, start=1):
        kept.keep(result)
        if result.state is State.FAILED:
            why = "; ".join(problem.words for problem in result.problems)
            reporter.note(f"failed: {words[result.case]}: {why}")
        if number < len(cases):
            reporter.step(number + 1, len(cases), cases[number].words)


def _write_all(kept: Folder, about: About, reporter: TerminalReporter) -> None:
    results = tuple(kept.results().values())
    kept.write("results.json", _json_text(results_to_plain(about, results)))
    kept.write("results.csv", results_csv(about, results))
    try:
        kept.write("index.html", results_page(about, results))
    except Refused as refused:
        reporter.note(f"no page: {refused.message}: {refused.problems[0].remedy}")


def _json_text(plain: object) -> str:
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def _tell(kept: Folder, about: About, *, as_json: bool) -> int | None:
    """Tell the results; the exit code, where cases came to nothing and JSON tells so already."""
    results = tuple(kept.results().values())
    if as_json:
        print_json(results_to_plain(about, results))
    else:
        click.echo(results_text(about, results))
    failed = [each for each in results if each.state is State.FAILED]
    if not failed:
        return None
    count = "1 case" if len(failed) == 1 else f"{len(failed)} cases"
    error = RunFailed(
        f"{count} of {about.cases} came to nothing; the same command tries again",
        problems=in_order(problem for each in failed for problem in each.problems),
        code="case-failed",
        vm_state="The VMs were the experiment's own, and are gone.",
    )
    if not as_json:
        raise error
    click.echo(error_text(error), err=True)  # the results are the one JSON object on stdout
    return error.exit_code


@contextmanager
def _stopped_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP do what Ctrl-C does: QEMU and its files are taken away; once is enough."""
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _STOPS}

    def stop(_number: int, _frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number, found in before.items():
        if found is not signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    except KeyboardInterrupt:
        # click says what Ctrl-C comes to elsewhere: here nothing is undone, and nothing is lost
        raise click.Abort("The results so far are kept; the same command goes on.") from None
    finally:
        for number, found in before.items():
            signal.signal(number, found)


@command.command("show")
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--csv", "csv_file", metavar="FILE", help="Write a line a case, as CSV.")
@click.option(
    "--html",
    "html_file",
    metavar="FILE",
    help="Write a page with plots and timelines, which needs no network.",
)
@json_option
def show(*, folder: str, csv_file: str | None, html_file: str | None, as_json: bool) -> None:
    """Show the results in FOLDER, those of an experiment that is not finished too.

    Nothing is run.
    """
    kept = Folder(Path(folder))
    about, results = kept.about(), tuple(kept.results().values())
    if csv_file is not None and write_file(csv_file, results_csv(about, results)):
        return
    if html_file is not None and write_file(html_file, results_page(about, results)):
        return
    if as_json:
        print_json(results_to_plain(about, results))
    else:
        click.echo(results_text(about, results))
