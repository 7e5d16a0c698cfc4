"""What `compare` learns by exploring: the verdict on each design, also on those that are only files."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from planner.compare.comparison import DesignReport, Explored, compare_designs
from planner.compile.designs import DESIGNS
from planner.compile.resolve import resolve
from planner.errors import Refused
from planner.explore.instruction import Instruction
from planner.explore.laying import instructions_for
from planner.explore.search import Search
from planner.explore.setting_of import instructions_of, setting_of
from planner.model.facts import Facts
from planner.model.request_text import ReadRequest
from planner.program.resolution import Resolution
from planner.verbs.design_files import find_design

__all__ = ["compare_and_explore"]

_COMPILED = ("auto", *(design.name for design in DESIGNS))
_STATES = 20_000
"""A comparison does not wait for a longer search; `explore` does."""


def compare_and_explore(
    read: ReadRequest, facts: Facts, designs: Sequence[str], memory_bytes: int | None = None
) -> tuple[DesignReport, ...]:
    """Compare designs, compiled ones and files, with what every run of each comes to.

    Raises:
        BadInput: The request is malformed, or a design unknown.
        Refused: The request cannot be done on this VM.
    """
    compiled = tuple(name for name in designs if name in _COMPILED)
    files = {name: find_design(name) for name in designs if name not in _COMPILED}
    resolution = resolve(read, facts) if files else None
    reports = dict(zip(compiled, compare_designs(read, facts, compiled, memory_bytes), strict=True))
    found = []
    for name in designs:
        if name in reports:
            found.append(_with_verdict(reports[name], facts))
            continue
        if resolution is None:
            continue
        try:
            instructions = instructions_for(files[name], resolution)
        except Refused as error:
            found.append(DesignReport(files[name].name, error.problems))
            continue
        found.append(
            DesignReport(
                files[name].name,
                proposed=tuple(instruction.name for instruction in instructions),
                explored=_explored(resolution, instructions, name, facts),
            )
        )
    return tuple(found)


def _with_verdict(report: DesignReport, facts: Facts) -> DesignReport:
    if report.program is None:
        return report
    program = report.program
    instructions = instructions_of(program)
    return evolve(
        report, explored=_explored(program.resolution, instructions, program.design, facts)
    )


def _explored(
    resolution: Resolution, instructions: Sequence[Instruction], design: str, facts: Facts
) -> Explored:
    try:
        setting = setting_of(resolution, instructions, design, facts, faults=1)
    except Refused as error:
        return Explored(stops_short="; ".join(str(problem) for problem in error.problems))
    search = Search(setting)
    for progress in search.run():
        if progress.states > _STATES:
            break
    report = search.report()
    return Explored(report.violated, report.finished)
