"""What a lint found, for a person and for programs."""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Violation
from planner.lint import LintReport
from planner.present.outputs import output
from planner.present.visible import as_lines

__all__ = ["report_text", "report_to_plain"]


def report_text(report: LintReport) -> str:
    """Every finding with its line, rule, reason and remedy; then what could not be checked."""
    return as_lines(_lines(report))


def _lines(report: LintReport) -> Iterator[str]:
    place = "step" if report.kind == "plan" else "line"
    for finding in report.findings:
        where = f"{place} {finding.line}" if finding.line else "the whole"
        yield f"{report.source}: {where}: {finding.execute} [{finding.rule}]"
        yield f"    {finding.message}"
        if finding.remedy:
            yield f"    right: {finding.remedy}"
    if report.unchecked:
        yield "not checked:"
        yield from (f"    {text}" for text in report.unchecked)
    yield _verdict(report)


def _verdict(report: LintReport) -> str:
    count = len(report.findings)
    found = "nothing found" if not count else "1 finding" if count == 1 else f"{count} findings"
    commands = "1 command" if report.commands == 1 else f"{report.commands} commands"
    return f"{report.source}: {commands}, {found}"


def report_to_plain(report: LintReport) -> dict[str, object]:
    """What `report_text` says, as plain values."""
    return output(
        "check",
        {
            "source": report.source,
            "kind": report.kind,
            "commands": report.commands,
            "exit-code": Violation.exit_code if report.findings else 0,
            "findings": [
                {
                    "line": finding.line,
                    "command": finding.execute,
                    "code": finding.rule,
                    "message": finding.message,
                    "remedy": finding.remedy,
                }
                for finding in report.findings
            ],
            "unchecked": list(report.unchecked),
        },
    )
