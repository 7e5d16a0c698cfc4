"""What `verify` found, for a person and for programs."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from planner.errors import Problem
from planner.parts.manifest import Manifest
from planner.present.outputs import output
from planner.present.visible import as_lines
from planner.present.words import problem_to_plain

__all__ = ["Verdict", "verdict_text", "verdict_to_plain"]


@frozen
class Verdict:
    """What came of a verification.

    Attributes:
        manifest: What was verified.
        findings: What is wrong; empty: nothing.
        unchecked: What could not be looked at, in clauses.
        left_out: What a load would find otherwise of disks and drives that are no part.
    """

    manifest: Manifest
    findings: tuple[Problem, ...]
    unchecked: tuple[str, ...] = ()
    left_out: tuple[Problem, ...] = ()


def verdict_text(verdict: Verdict) -> str:
    """The verdict, each finding, and what was not looked at."""
    tag, count = verdict.manifest.tag, len(verdict.manifest.parts)
    if verdict.findings:
        lines = [f"Snapshot {tag!r} is not whole: {_counted(verdict.findings)}."]
        lines += [f"  - {problem}" for problem in verdict.findings]
    else:
        lines = [f"Snapshot {tag!r} is whole: {count} {'part' if count == 1 else 'parts'}."]
    lines += [f"  {line}" for line in verdict.manifest.description.splitlines()]
    lines += [f"  no part of it, and a load would have to be told: {p}" for p in verdict.left_out]
    lines += [f"  not checked: {what}" for what in verdict.unchecked]
    return as_lines(lines)


def _counted(findings: Sequence[Problem]) -> str:
    return "1 finding" if len(findings) == 1 else f"{len(findings)} findings"


def verdict_to_plain(verdict: Verdict) -> dict[str, object]:
    """What `verdict_text` says, as plain values."""
    return output(
        "verify",
        {
            "tag": verdict.manifest.tag,
            "description": verdict.manifest.description,
            "whole": not verdict.findings,
            "parts": len(verdict.manifest.parts),
            "findings": [problem_to_plain(problem) for problem in verdict.findings],
            "unchecked": list(verdict.unchecked),
            "left-out": [problem_to_plain(problem) for problem in verdict.left_out],
        },
    )
