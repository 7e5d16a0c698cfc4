"""`snapplan group explore`: every run of a group, with every order, every message, fault and death."""

from __future__ import annotations

import click

from planner.cli.common import json_option, print_json, read_file
from planner.cli.group_links import facts_of_members, facts_option, file_argument, wishes_of
from planner.cli.progress_line import ProgressLine
from planner.errors import Problem, Violation
from planner.explore.group import PROPERTIES, GroupExploration, GroupReport, GroupSearch
from planner.model.group_text import read_group
from planner.present.group_explore_view import exploration_text, exploration_to_plain
from planner.present.words import error_text
from planner.program.gates import Gate
from planner.verbs.group_save import plan_of_facts

__all__ = ["explore_command"]

_FAULTS = {"none": 0, "one": 1, "two": 2}
_GATES = (Gate.PAUSE, Gate.STANDING, Gate.RESUME, Gate.COMMIT)
_INTERRUPTED = 130


@click.command("explore")
@file_argument
@facts_option
@click.option(
    "--messages",
    type=click.IntRange(0, 9),
    default=2,
    show_default=True,
    help="How many messages the guests send, all together.",
)
@click.option(
    "--faults",
    type=click.Choice(list(_FAULTS)),
    default="one",
    show_default=True,
    help="How many steps may fail.",
)
@click.option(
    "--without-gate",
    "without",
    type=click.Choice([gate.value for gate in _GATES]),
    multiple=True,
    help="Let members pass this gate at once: shows what it is for.",
)
@click.option(
    "--export", type=click.Choice(["promela"]), help="Write the model for SPIN, and do not search."
)
@json_option
def explore_command(  # noqa: PLR0913 - one parameter an option
    *,
    source: str,
    recorded: tuple[str, ...],
    messages: int,
    faults: str,
    without: tuple[str, ...],
    export: str | None,
    as_json: bool,
) -> int | None:
    """Explore every run of a group: every order, every message, every fault, and death at any place.

    The guests send each other messages while they run. snapplan may be killed anywhere; `recover` then
    ends the members one by one, or never comes. The verdict on each property is printed, with a
    shortest run that violates it; then the exit code is 30. VMs are asked questions only.
    """
    if export is not None and as_json:
        raise click.UsageError("--export writes a model for SPIN: leave --json out")
    group = read_group(read_file(source), source)
    plan = plan_of_facts(facts_of_members(group, recorded), wishes_of(group, source), group.group)
    setting = GroupExploration(
        {each.name: each.plan.program for each in plan.members},
        messages,
        _FAULTS[faults],
        frozenset(Gate) - {Gate(name) for name in without},
    )
    if export is not None:
        from planner.explore.group_promela import group_promela  # noqa: PLC0415 - rarely needed

        click.echo(group_promela(setting), nl=False)
        return None
    search = GroupSearch(setting)
    finished = _search(search)
    report = search.report()
    if as_json:
        print_json(exploration_to_plain(plan, setting, report))
    else:
        click.echo(exploration_text(plan, setting, report))
    if not finished:
        click.echo("snapplan: stopped; the report says what is known so far", err=True)
        return _INTERRUPTED
    return _exit(plan.name, report, as_json=as_json)


def _search(search: GroupSearch) -> bool:
    """Search, with progress on a terminal; False where the user stopped it."""
    line = ProgressLine("exploring")
    line.start()
    try:
        for states, waiting in search.run():
            line.update(f"{states} states, {waiting} waiting")
    except KeyboardInterrupt:
        return False
    finally:
        line.stop()
    return True


def _exit(name: str, report: GroupReport, *, as_json: bool) -> int | None:
    if not report.violations:
        return None
    problems = tuple(Problem(each, name, PROPERTIES[each]) for each in report.violations)
    count = "1 property" if len(problems) == 1 else f"{len(problems)} properties"
    error = Violation(
        f"group {name!r} violates {count}", problems=problems, code="property-violated"
    )
    if as_json:  # the report is the one JSON object on stdout
        click.echo(error_text(error), err=True)
        return error.exit_code
    raise error
