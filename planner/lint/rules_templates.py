"""Findings about streams that leave shared memory out: what a template is made with, and read with.

A stream written with `x-ignore-shared` is the devices' state alone; the memory stays in its file, and
whoever lets that guest run on changes it (fact 82).  The rules are those of `planner.verify.template`,
as far as a sequence of commands shows them; how the memory is mapped is on QEMU's command line.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.lint.moment import Moment, Rule
from planner.lint.program import Finding

__all__ = ["RULES"]

_IGNORE_SHARED = "x-ignore-shared"


def _both_sides(at: Moment) -> Iterator[Finding]:
    if at.execute not in ("migrate", "migrate-incoming"):
        return
    on, uri = _IGNORE_SHARED in at.memory.capabilities, at.text("uri")
    if at.execute == "migrate":
        at.memory.leaves_memory_out[uri] = on
        at.memory.template_line = at.command.line if on else 0
        return
    at.memory.clone_line = at.command.line if on else 0
    written = at.memory.leaves_memory_out.get(uri, on)
    if written != on:
        here, there = ("on", "off") if on else ("off", "on")
        yield at.finding(
            "ignore-shared-on-both-sides",
            f"{uri} was written with {_IGNORE_SHARED} {there}, and it is {here} now: QEMU ends "
            "over the difference (fact 79)",
            f"switch {_IGNORE_SHARED} {there} before the stream is read",
        )


def _runs(at: Moment) -> Iterator[Finding]:
    if at.execute != "cont":
        return
    if at.memory.template_line:
        yield at.finding(
            "maker-never-runs",
            f"the stream of line {at.memory.template_line} has no shared memory in it: a guest that "
            "runs on changes the memory that its devices were saved for (fact 82)",
            "end this QEMU, and start another from the stream and the memory's file, share=off",
        )
    elif at.memory.clone_line and _IGNORE_SHARED in at.memory.capabilities:
        yield at.finding(
            "ignore-shared-off-before-it-runs",
            f"{_IGNORE_SHARED} is on still: what this VM saves nobody else can load (fact 86)",
            "switch it off with migrate-set-capabilities once the stream is read",
        )


RULES: tuple[Rule, ...] = (_both_sides, _runs)
