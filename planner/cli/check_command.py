"""`snapplan check`: lint any sequence of QMP commands."""

from __future__ import annotations

import re
from urllib.parse import quote

import click

from planner.cli.common import (
    facts_option,
    gather_facts,
    json_option,
    print_json,
    read_file,
    vm_option,
)
from planner.compile.plan_text import is_plan, read_plan
from planner.errors import Violation
from planner.host.version import snapplan_version
from planner.lint import Finding, LintReport, Listing, lint, listing_of_plan, read_listing
from planner.model.facts import Facts
from planner.present.lint_sarif import sarif_of
from planner.present.lint_view import report_text, report_to_plain

__all__ = ["command"]

_VERSION = re.compile(r"\d{1,3}\.\d{1,3}(\.\d{1,3})?", re.ASCII)


@click.command("check")
@click.argument("program", metavar="PROGRAM|PLAN", type=click.Path(dir_okay=False, allow_dash=True))
@vm_option
@facts_option
@click.option(
    "--qemu",
    "version",
    metavar="VERSION",
    default="",
    help="QEMU's version, as 10.0, where there are no facts and the program does not say it.",
)
@click.option(
    "--sarif",
    "as_sarif",
    is_flag=True,
    help="Print findings as SARIF 2.1.0, which code hosts and editors show.",
)
@json_option
def command(  # noqa: PLR0913 - one parameter an option
    *,
    program: str,
    vm: str | None,
    facts_file: str | None,
    version: str,
    as_sarif: bool,
    as_json: bool,
) -> int:
    """Lint a sequence of QMP commands: each finding with its line, its reason, and what is right.

    PROGRAM is JSON lines or an array, a recorded QMP session, a qmp-shell script, an HMP session, a
    shell script that calls virsh, socat or nc, the log of libvirt, QEMU (-trace handle_qmp_command),
    avocado or qemu.qmp, or a plan file; - is stdin. Without --facts or --vm, what could not be checked
    is said. A VM is asked questions only. Exit 0: nothing found; 30: findings.
    """
    _check_options(vm, facts_file, version, as_sarif=as_sarif, as_json=as_json)
    text = read_file(program)
    facts = gather_facts(vm, facts_file) if vm is not None or facts_file is not None else None
    report = _lint(text, program, facts, version)
    if as_sarif:
        print_json(sarif_of(report, snapplan_version(), quote(program)))
    elif as_json:
        print_json(report_to_plain(report))
    else:
        click.echo(report_text(report))
    return Violation.exit_code if report.findings else 0


def _check_options(
    vm: str | None, facts_file: str | None, version: str, *, as_sarif: bool, as_json: bool
) -> None:
    if as_sarif and as_json:
        raise click.UsageError("give one of --sarif and --json")
    if not version:
        return
    if vm is not None or facts_file is not None:
        raise click.UsageError("give --qemu only without --vm and --facts, which say the version")
    if not _VERSION.fullmatch(version):
        raise click.UsageError(f"--qemu {version}: a version is like 10.0 or 7.2.22")


def _lint(text: str, source: str, facts: Facts | None, version: str) -> LintReport:
    if not is_plan(text):
        return lint(read_listing(text, source, version), facts)
    try:
        listing: Listing = listing_of_plan(read_plan(text, source), source)
    except Violation as violation:  # a plan that breaks the rules of its own request
        findings = tuple(Finding(0, p.code, p.subject, p.message) for p in violation.problems)
        return LintReport(
            source, "plan", 0, findings, ("the single commands: the plan is not proved",)
        )
    return lint(listing, facts)
