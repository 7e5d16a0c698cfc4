"""`snapplan conformance`: every fact about QEMU that snapplan is built on, tried on one binary."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from backends.qemu_facts.lab.by_hand import chosen
from backends.qemu_facts.report import Runner, facts
from backends.qemu_facts.report_text import (
    checked,
    differences,
    differences_text,
    fact_line,
    report_text,
)
from planner.cli import waiting_line
from planner.cli.common import json_option, print_json, read_file, write_file
from planner.errors import BadInput, CannotConnect, Problem, Violation
from planner.present.outputs import output

__all__ = ["command"]

_Report = dict[str, Any]


@click.command("conformance")
@click.option("--qemu", metavar="BINARY", help="The QEMU to try: a qemu-system-x86_64.")
@click.option(
    "--qemu-img",
    metavar="BINARY",
    help="Its qemu-img; else the one beside it, or on PATH. Facts that want none run without.",
)
@click.option("--accel", metavar="NAME", help="The accelerator: kvm, for example; else tcg.")
@click.option("--fact", "wanted", type=int, multiple=True, metavar="N", help="Only this fact.")
@click.option(
    "--report",
    "report_file",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Write the report to this file, as JSON.",
)
@click.option(
    "--read",
    "read_from",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Run nothing: take the report from this file.",
)
@click.option(
    "--against",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Compare with this report, of another QEMU or another day.",
)
@click.option(
    "--jobs", default=2, show_default=True, type=click.IntRange(1, 64), help="Facts at once."
)
@click.option(
    "--time-limit",
    default=300.0,
    show_default=True,
    type=click.FloatRange(1.0, 86400.0),
    metavar="SECONDS",
    help="How long one fact may take; what hangs is ended and reported.",
)
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    qemu: str | None,
    qemu_img: str | None,
    accel: str | None,
    wanted: tuple[int, ...],
    report_file: str | None,
    read_from: str | None,
    against: str | None,
    jobs: int,
    time_limit: float,
    as_json: bool,
) -> int:
    """Try every fact about QEMU that snapplan is built on, on one binary: a line each.

    same: it does what the fact tells. changed: it does something else, in its own words. fixed: the
    fact is about a defect, and it does what is right. not run: and why. VMs are started for it, small
    ones of its own; no other VM is touched. By hand, with Python alone:
    python3 -m snapplan.qemu_facts.fact_072 --qemu BINARY. Exit 0: nothing changed, or with --against
    no fact differs; 12: the binary is no QEMU, which is the report then; 30: something did.
    """
    if (qemu is None) == (read_from is None):
        raise click.UsageError("give either --qemu BINARY or --read REPORT")
    before = _stored(against) if against is not None else None
    if read_from is not None:
        report = _stored(read_from)
    else:
        tried = _known(wanted) or tuple(facts())
        tell = _telling(len(set(tried)))
        runner = Runner(chosen(qemu, qemu_img, accel), limit_s=time_limit, jobs=jobs, tell=tell)
        report = runner.report(tried)
    if report_file is not None and write_file(report_file, json.dumps(report, indent=2) + "\n"):
        return _exit_code(report, before)
    _print(report, before, as_json=as_json)
    return _exit_code(report, before)


def _telling(count: int) -> Callable[[_Report], None]:
    """Tell each fact's line as it comes, and how many have come, on a terminal."""
    done = 0

    def tell(record: _Report) -> None:
        nonlocal done
        done += 1
        if sys.stderr.isatty():
            click.echo(fact_line(record), err=True)
        waiting_line.say(f"{done} of {count} facts have been tried")

    waiting_line.say(f"0 of {count} facts have been tried")
    return tell


def _known(wanted: tuple[int, ...]) -> tuple[int, ...]:
    unknown = sorted(set(wanted) - set(facts()))
    if unknown:
        numbers = ", ".join(map(str, unknown))
        problem = Problem("fact-unknown", numbers, "no fact has this number", "see qemu-facts.md")
        raise BadInput(problem.words, problems=(problem,), code=problem.code)
    return wanted


def _stored(path: str) -> _Report:
    """A report from a file.

    Raises:
        BadInput: It is none.
    """
    try:
        return checked(json.loads(read_file(path)))
    except (ValueError, RecursionError) as error:
        remedy = "give a file that --report wrote"
        problem = Problem("report-malformed", path, str(error) or "nested too deep", remedy)
        raise BadInput(problem.words, problems=(problem,), code=problem.code) from error


def _print(report: _Report, before: _Report | None, *, as_json: bool) -> None:
    if as_json:
        differ = None if before is None else differences(before, report)
        body = {name: value for name, value in report.items() if name != "format-version"}
        print_json(output("conformance", {**body, "differences": differ}))
    elif before is not None:
        click.echo(differences_text(before, report))
    else:
        click.echo(report_text(report))


def _exit_code(report: _Report, before: _Report | None) -> int:
    if before is not None:
        return Violation.exit_code if differences(before, report) else 0
    if report["qemu"]["problem"]:
        return CannotConnect.exit_code
    counted = report["summary"]
    return Violation.exit_code if counted["changed"] or counted["fixed"] else 0
