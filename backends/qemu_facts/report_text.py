"""Reports in words: one line a fact, and how two reports differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["checked", "differences", "differences_text", "fact_line", "report_text"]

_VERDICTS = ("same", "changed", "fixed", "not run")
_Record = Mapping[str, Any]


def fact_line(record: _Record) -> str:
    """One fact in a line."""
    why = f": {record['why']}" if record["why"] else ""
    return f"{record['fact']:>4}  {record['verdict']:8} {record['title']}{why}"


def report_text(report: _Record) -> str:
    """A whole report: which QEMU, a line a fact, and how many of each verdict."""
    counted = report["summary"]
    counts = ", ".join(f"{counted[name.replace(' ', '-')]} {name}" for name in _VERDICTS)
    lines = [_head(report), *map(fact_line, report["facts"])]
    return "\n".join([*lines, f"{len(report['facts'])} facts: {counts}"])


def _head(report: _Record) -> str:
    qemu = report["qemu"]
    if qemu["problem"]:
        return f"no QEMU: {qemu['problem']}"
    package = f" ({qemu['package']})" if qemu["package"] else ""
    return f"QEMU {qemu['version']}{package}, {qemu['binary']}"


def differences(before: _Record, after: _Record) -> list[dict[str, Any]]:
    """The facts that two reports say other things of, by number; `missing`: one has it not."""
    first = {record["fact"]: record for record in before["facts"]}
    second = {record["fact"]: record for record in after["facts"]}
    found = []
    for number in sorted({*first, *second}):
        old, new = first.get(number, {}), second.get(number, {})
        pair = (old.get("verdict", "missing"), new.get("verdict", "missing"))
        if pair[0] != pair[1]:
            either = new or old
            found.append(
                {
                    "fact": number,
                    "title": either["title"],
                    "before": pair[0],
                    "after": pair[1],
                    "why": new.get("why", "") or old.get("why", ""),
                }
            )
    return found


def differences_text(before: _Record, after: _Record) -> str:
    """The same in words."""
    found = differences(before, after)
    lines = [f"before: {_head(before)}", f"after:  {_head(after)}"]
    for each in found:
        why = f": {each['why']}" if each["why"] else ""
        change = f"{each['before']} -> {each['after']}"
        lines.append(f"{each['fact']:>4}  {change:20} {each['title']}{why}")
    known = len({record["fact"] for report in (before, after) for record in report["facts"]})
    return "\n".join([*lines, f"{len(found)} of {known} facts differ"])


def checked(value: object) -> dict[str, Any]:
    """A report that was read from a file, if it is one.

    Raises:
        ValueError: It is none; the words say where.
    """
    report = _object(value, "the file", ("format-version", "qemu", "summary", "facts"))
    if report["format-version"] != 1:
        raise ValueError("format-version is not 1")
    qemu = _object(report["qemu"], "qemu", ("binary", "version", "package", "problem"))
    _texts(qemu, "qemu", tuple(qemu))
    summary = _object(
        report["summary"], "summary", tuple(name.replace(" ", "-") for name in _VERDICTS)
    )
    if not all(type(number) is int for number in summary.values()):
        raise ValueError("summary does not count")
    if not isinstance(report["facts"], list):
        raise ValueError("facts is no list")
    for place, each in enumerate(report["facts"]):
        where = f"facts[{place}]"
        fact = _object(each, where, ("fact", "title", "verdict", "why", "experiments"))
        _texts(fact, where, ("title", "verdict", "why"))
        if type(fact["fact"]) is not int or fact["verdict"] not in _VERDICTS:
            raise ValueError(f"{where} has no number, or a verdict that is none")
    return report


def _object(value: object, where: str, members: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is no object")
    for name in members:
        if name not in value:
            raise ValueError(f"{where} lacks {name}")
    return value


def _texts(value: Mapping[str, Any], where: str, members: tuple[str, ...]) -> None:
    for name in members:
        if not isinstance(value[name], str):
            raise ValueError(f"{where}.{name} is no text")
