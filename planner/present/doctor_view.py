"""What an examination found, for a person (who may paste it into an issue) and for programs."""

from __future__ import annotations

from collections.abc import Iterator

from planner.doctor.finding import Area, DesignAbility, DiskAbility, Examination, Finding, Standing
from planner.errors import Problem
from planner.present.outputs import output
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import problem_to_plain

__all__ = ["examination_text", "examination_to_plain"]

_HEADS = {
    Area.HOST: "This machine",
    Area.STORE: "Store",
    Area.CONNECTION: "Connection",
    Area.VM: "VM",
    Area.SETTINGS: "Settings left on",
    Area.DISKS: "Disks",
    Area.OUTSIDE: "Outside of QEMU's block layer",
    Area.RUNS: "Unfinished runs",
}
_MARKS = {Standing.GOOD: "", Standing.NOTE: "note", Standing.WRONG: "WRONG"}


def examination_text(examination: Examination) -> str:
    """The report: what was looked at by area, then what each disk and design can, then a summary."""
    lines: list[str] = []
    for area in Area:
        found = [each for each in examination.findings if each.area is area]
        if found:
            lines.append(_HEADS[area])
            lines.append(table([_row(each) for each in found], "  "))
            lines += _remedies(found)
    if examination.disks:
        lines += ["What can become of each disk", table(list(_disk_rows(examination.disks)), "  ")]
        lines += _why_not([each for disk in examination.disks for _, each in _of_disk(disk)])
    if examination.designs:
        lines += ["What each design can do here"]
        lines += [line for each in examination.designs for line in _design(each)]
    return as_lines([*lines, _summary(examination)])


def _row(finding: Finding) -> tuple[str, str, str]:
    code = f" [{finding.code}]" if finding.code else ""
    return _MARKS[finding.standing], finding.subject, f"{finding.message}{code}"


def _remedies(found: list[Finding]) -> list[str]:
    """What to do, each once."""
    told = dict.fromkeys((each.remedy, each.code) for each in found if each.remedy)
    return [f"    [{code}] what to do: {remedy}" for remedy, code in told]


def _disk_rows(disks: tuple[DiskAbility, ...]) -> Iterator[tuple[str, ...]]:
    yield ("DISK", *(name for name, _ in disks[0].parts))
    for disk in disks:
        yield (disk.disk, *("no" if problems else "yes" for _, problems in disk.parts))


def _of_disk(disk: DiskAbility) -> Iterator[tuple[str, Problem]]:
    for name, problems in disk.parts:
        yield from ((name, problem) for problem in problems)


def _why_not(problems: list[Problem]) -> list[str]:
    return [f"    {problem}" for problem in dict.fromkeys(problems)]


def _design(ability: DesignAbility) -> Iterator[str]:
    yield f"  {ability.design}: {'no' if ability.problems else f'yes, {ability.machine_state}'}"
    yield from (f"    {problem}" for problem in ability.problems)


def _summary(examination: Examination) -> str:
    count = len(examination.wrong)
    notes = sum(each.standing is Standing.NOTE for each in examination.findings)
    head = f"{count} wrong" if count else "Nothing is wrong"
    return f"{head}, {notes} to be noted."


def examination_to_plain(examination: Examination) -> dict[str, object]:
    """What `examination_text` says, as plain values."""
    return output(
        "doctor",
        {
            "wrong": len(examination.wrong),
            "findings": [_to_plain(each) for each in examination.findings],
            "disks": [
                {
                    "disk": each.disk,
                    "parts": {
                        name: {
                            "possible": not found,
                            "problems": list(map(problem_to_plain, found)),
                        }
                        for name, found in each.parts
                    },
                }
                for each in examination.disks
            ],
            "designs": [
                {
                    "design": each.design,
                    "possible": not each.problems,
                    "problems": [problem_to_plain(problem) for problem in each.problems],
                    "machine-state": each.machine_state,
                }
                for each in examination.designs
            ],
        },
    )


def _to_plain(finding: Finding) -> dict[str, str]:
    return {
        "area": finding.area.value,
        "standing": finding.standing.value,
        "subject": finding.subject,
        "code": finding.code,
        "message": finding.message,
        "remedy": finding.remedy,
    }
