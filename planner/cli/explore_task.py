"""What `explore` is given: a plan's program, a compiled request, or a design file over a request."""

from __future__ import annotations

import click

from planner.cli.common import gather_facts, read_file
from planner.compile.plan_text import is_plan, read_plan
from planner.model.request_text import read_request
from planner.verbs.design_files import find_design
from planner.verbs.exploring import (
    COMPILED,
    Strikes,
    Task,
    task_of_design,
    task_of_program,
    task_of_request,
)

__all__ = ["task_of"]


def task_of(
    source: str, vm: str | None, facts_file: str | None, design: str, strikes: Strikes
) -> Task:
    """Read what is to be explored.

    Raises:
        BadInput: A file is malformed, or a design unknown.
        Refused: The design cannot do it.
    """
    text = read_file(source)
    given = facts_file is not None or vm is not None
    if is_plan(text):
        if design != "auto":
            raise click.UsageError("a plan file has its design; --design goes with a request")
        program = read_plan(text, source).program
        return task_of_program(program, gather_facts(vm, facts_file) if given else None, strikes)
    facts = gather_facts(vm, facts_file)
    read = read_request(text, source)
    if design in COMPILED:
        return task_of_request(read, facts, design, strikes)
    return task_of_design(find_design(design), read, facts, strikes)
