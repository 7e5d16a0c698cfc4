"""What a lint found, as SARIF 2.1.0: what code hosts and editors show beside a file's lines.

Source: OASIS, Static Analysis Results Interchange Format, version 2.1.0.
"""

from __future__ import annotations

from planner.lint import Finding, LintReport

__all__ = ["sarif_of"]

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


def sarif_of(report: LintReport, version: str, uri: str) -> dict[str, object]:
    """One run of one tool: a result for each finding, a note for what could not be checked.

    Args:
        report: What was found.
        version: Of snapplan.
        uri: Where what was linted is, as a relative or absolute URI.
    """
    rules = sorted({finding.rule for finding in report.findings})
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "snapplan check",
                        "version": version,
                        "rules": [{"id": rule} for rule in rules],
                    }
                },
                "results": [_result(report, finding, rules, uri) for finding in report.findings],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {"level": "note", "message": {"text": f"not checked: {text}"}}
                            for text in report.unchecked
                        ],
                    }
                ],
            }
        ],
    }


def _result(report: LintReport, finding: Finding, rules: list[str], uri: str) -> dict[str, object]:
    right = f" Right: {finding.remedy}." if finding.remedy else ""
    place: dict[str, object] = {"artifactLocation": {"uri": uri}}
    if finding.line and report.kind == "lines":
        place["region"] = {"startLine": finding.line}
    return {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": "error",
        "message": {"text": f"{finding.execute}: {finding.message}.{right}"},
        "locations": [{"physicalLocation": place}],
    }
