"""What an examination finds, as data.

Rules: a finding is one thing at one place, and says how it stands.  No text of it holds a secret
(`planner.doctor.redacting`): a report is made to be pasted where everybody reads it.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from planner.doctor.redacting import without_secrets
from planner.errors import Problem

__all__ = ["Area", "DesignAbility", "DiskAbility", "Examination", "Finding", "Standing", "wrong"]

_Parts = tuple[tuple[str, tuple[Problem, ...]], ...]


class Area(StrEnum):
    """What is looked at, in the order of a report."""

    HOST = "host"
    STORE = "store"
    CONNECTION = "connection"
    VM = "vm"
    SETTINGS = "settings"
    DISKS = "disks"
    OUTSIDE = "outside"
    RUNS = "runs"


class Standing(StrEnum):
    """How what was looked at stands."""

    GOOD = "good"
    NOTE = "note"
    """It is to be known, and stands in the way of nothing, or of some requests only."""
    WRONG = "wrong"
    """It stands in the way."""


@frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        area: Where.
        standing: How it stands.
        subject: What.
        message: What is so, in a clause.
        code: Stable identifier of what is noted or wrong; empty: it is good, or only told.
        remedy: What can be done about it; empty: nothing, or nothing is needed.
    """

    area: Area
    standing: Standing
    subject: str = field(converter=without_secrets)
    message: str = field(converter=without_secrets)
    code: str = ""
    remedy: str = field(default="", converter=without_secrets)


def wrong(area: Area, problem: Problem, standing: Standing = Standing.WRONG) -> Finding:
    """A problem as a finding."""
    return Finding(area, standing, problem.subject, problem.message, problem.code, problem.remedy)


def _without_secrets(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    return tuple(
        Problem(p.code, *map(without_secrets, (p.subject, p.message, p.remedy))) for p in problems
    )


def _parts_without_secrets(parts: _Parts) -> _Parts:
    return tuple((name, _without_secrets(found)) for name, found in parts)


@frozen
class DesignAbility:
    """What a design can do on a VM.

    Attributes:
        design: Its name.
        problems: Why it cannot save what the VM has; empty: it can.
        machine_state: Where it would put that, in words.
    """

    design: str
    problems: tuple[Problem, ...] = field(default=(), converter=_without_secrets)
    machine_state: str = field(default="", converter=without_secrets)


@frozen
class DiskAbility:
    """What can become of a disk.

    Attributes:
        disk: Its name.
        parts: By ``internal``, ``external``, ``copy`` and ``machine-state``: why not; none: it can.
    """

    disk: str
    parts: _Parts = field(converter=_parts_without_secrets)


@frozen
class Examination:
    """All that was found.

    Attributes:
        findings: In the order in which they were looked at.
        disks: What can become of each disk; empty: no VM was asked.
        designs: What each design can do; empty: no VM was asked.
    """

    findings: tuple[Finding, ...]
    disks: tuple[DiskAbility, ...] = ()
    designs: tuple[DesignAbility, ...] = ()

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """What stands in the way."""
        return tuple(each for each in self.findings if each.standing is Standing.WRONG)
