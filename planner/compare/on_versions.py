"""Which QEMU versions can do a request in a design: compiled anew for each, with what that QEMU has.

A program for one QEMU is no witness for another: how a stream is written, and whether it can be captured
in the background at all, depends on the version (facts 31 and 41).
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, frozen

from planner.compile.plan import compile_request
from planner.errors import Problem, Refused, Violation
from planner.model.facts import Facts, QemuVersion
from planner.model.request_text import ReadRequest
from planner.semantics import PROFILES, capability_names, schema_of

__all__ = ["VersionReport", "version_reports"]


@frozen
class VersionReport:
    """Whether a QEMU can do it, and has what is sent; empty problems: it can."""

    version: str
    problems: tuple[Problem, ...]


def version_reports(read: ReadRequest, facts: Facts, design: str) -> Iterator[VersionReport]:
    """A report for each version that is modelled, on the same disks.

    Args:
        read: The request, as the design gets it.
        facts: The VM.
        design: Name of the design.
    """
    for name in PROFILES:
        yield VersionReport(name, _problems(read, _facts_on(name, facts), design))


def _problems(read: ReadRequest, facts: Facts, design: str) -> tuple[Problem, ...]:
    try:
        compile_request(read, facts, design)
    except (Refused, Violation) as error:
        return error.problems
    return ()


def _facts_on(name: str, facts: Facts) -> Facts:
    profile = PROFILES[name]
    known = capability_names(name) if facts.capabilities else ()
    return evolve(
        facts,
        qemu=QemuVersion(*profile.version, profile.package),
        schema=schema_of(name).entries,
        capabilities={each: facts.capabilities.get(each, False) for each in known},
    )
