"""What `compare` learns by exploring: the verdict on each design, also on those that are only files."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from planner.compare.comparison import DesignReport, Explored, compare_designs
from planner.compare.predicting import predict_work
from planner.compile.resolve import resolve
from planner.errors import Refused
from planner.explore.instruction import ClientKind, Instruction
from planner.explore.laying import instructions_for
from planner.explore.pause_work import PauseWork, pause_work
from planner.explore.search import Search, SearchReport
from planner.explore.setting_of import instructions_of, setting_of
from planner.explore.state import ClientDeath, Setting
from planner.model.facts import Facts
from planner.model.request_text import ReadRequest
from planner.program.resolution import Resolution
from planner.verbs.design_files import find_design
from planner.verbs.exploring import COMPILED

__all__ = ["compare_and_explore"]

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
    compiled = tuple(name for name in designs if name in COMPILED)
    files = {name: find_design(name) for name in designs if name not in COMPILED}
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
        explored, work = _explored(
            resolution, instructions, files[name].name, facts, files[name].client
        )
        found.append(
            DesignReport(
                files[name].name,
                proposed=tuple(instruction.name for instruction in instructions),
                explored=explored,
                prediction=None if work is None else predict_work(work, memory_bytes),
            )
        )
    return tuple(found)


def _with_verdict(report: DesignReport, facts: Facts) -> DesignReport:
    if report.program is None:
        return report
    program = report.program
    instructions = instructions_of(program)
    explored, _ = _explored(program.resolution, instructions, program.design, facts)
    return evolve(report, explored=explored)


def _explored(
    resolution: Resolution,
    instructions: Sequence[Instruction],
    design: str,
    facts: Facts,
    client: ClientKind = ClientKind.CAREFUL,
) -> tuple[Explored, PauseWork | None]:
    """The verdict, and what is done in the pause; None: no run is done, or nothing was explored."""
    try:
        setting = setting_of(resolution, instructions, design, facts, faults=1, client=client)
    except Refused as error:
        short = "; ".join(str(problem) for problem in error.problems)
        return Explored(stops_short=short), None
    reports = [
        _searched(evolve(setting, client_death=death))
        for death in (ClientDeath.NEVER, ClientDeath.FOR_GOOD, ClientDeath.RECOVERED)
    ]
    alone, dies, recovered = (report.violated for report in reports)
    finished = all(report.finished for report in reports)
    explored = Explored(alone, finished, client_dies=dies, client_recovered=recovered)
    example = reports[0].example
    return explored, pause_work(setting, example) if example else None


def _searched(setting: Setting) -> SearchReport:
    search = Search(setting)
    for progress in search.run():
        if progress.states > _STATES:
            break
    return search.report()
