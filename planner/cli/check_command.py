"""`snapplan check`: lint any sequence of QMP commands."""

from __future__ import annotations

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
from planner.lint import Finding, LintReport, Listing, lint, listing_of_plan, read_listing
from planner.model.facts import Facts
from planner.present.lint_view import report_text, report_to_plain

__all__ = ["command"]


@click.command("check")
@click.argument("program", metavar="PROGRAM|PLAN", type=click.Path(dir_okay=False, allow_dash=True))
@vm_option
@facts_option
@json_option
def command(*, program: str, vm: str | None, facts_file: str | None, as_json: bool) -> int:
    """Lint a sequence of QMP commands: each finding with its line, its reason, and what is right.

    PROGRAM is JSON lines, a recorded QMP session, a qmp-shell script or a plan file; - is stdin.
    Without --facts or --vm, what could not be checked is said. A VM is asked questions only.
    Exit 0: nothing found; 30: findings.
    """
    text = read_file(program)
    facts = gather_facts(vm, facts_file) if vm is not None or facts_file is not None else None
    report = _lint(text, program, facts)
    if as_json:
        print_json(report_to_plain(report))
    else:
        click.echo(report_text(report))
    return Violation.exit_code if report.findings else 0


def _lint(text: str, source: str, facts: Facts | None) -> LintReport:
    if not is_plan(text):
        return lint(read_listing(text, source), facts)
    try:
        listing: Listing = listing_of_plan(read_plan(text, source), source)
    except Violation as violation:  # a plan that breaks the rules of its own request
        findings = tuple(Finding(0, p.code, p.subject, p.message) for p in violation.problems)
        return LintReport(
            source, "plan", 0, findings, ("the single commands: the plan is not proved",)
        )
    return lint(listing, facts)
