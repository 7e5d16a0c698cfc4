"""`snapplan group`: snapshots of several VMs at one instant."""

from __future__ import annotations

from collections.abc import Mapping

import click
from attrs import evolve

from planner.cli.asking import context_of, offline_of
from planner.cli.common import connected, json_option, print_json, read_file, run, store_option
from planner.cli.group_explore import explore_command
from planner.cli.group_kept import delete_command, verify_command
from planner.cli.group_links import (
    facts_of_members,
    facts_option,
    file_argument,
    name_argument,
    wishes_of,
    with_members,
)
from planner.cli.group_load import load_command
from planner.cli.reporter import TerminalReporter, Then, progress_option
from planner.cli.run_options import deadline_option
from planner.cli.stopping import StoppedBySignals
from planner.errors import CannotConnect
from planner.group.planning import GroupPlan
from planner.group.record import GroupMember
from planner.group.saved import GroupSaved
from planner.model.group_text import GroupFile, read_group
from planner.present.group_view import (
    group_plan_text,
    group_plan_to_plain,
    group_saved_text,
    group_saved_to_plain,
    groups_text,
    groups_to_plain,
)
from planner.present.recovery_view import recovered_text, recovered_to_plain
from planner.recover.recovery import Recovered
from planner.store.store import Store
from planner.verbs.context import Context
from planner.verbs.group_records import (
    list_groups,
    recover_group,
)
from planner.verbs.group_save import plan_members, plan_of_facts, save_group
from planner.verbs.recover import raise_left, recover, recover_unreachable
from planner.verbs.save import Limits

__all__ = ["command"]


@click.group("group")
def command() -> None:
    """Snapshots of several VMs at one instant: all of them, or none.

    A group's file names its members, each with its VM and its request. Every guest stands before any
    goes on, so that none remembers what another one has not done; a failure in one undoes all.
    """


for _each in (explore_command, load_command, verify_command, delete_command):
    command.add_command(_each)


@command.command("plan")
@file_argument
@facts_option
@store_option
@json_option
def _plan(*, source: str, recorded: tuple[str, ...], store: Store, as_json: bool) -> None:
    """Plan a group and prove that it is one instant; the VMs are asked questions only.

    The steps of all members are told in one order, each with its member, and where they wait for each
    other. With --facts no VM is asked of which there is a file; whether members share an image is not
    known then.
    """
    group = read_group(read_file(source), source)
    wishes = wishes_of(group, source)
    if recorded:
        plan = plan_of_facts(facts_of_members(group, recorded), wishes, group.group)
        _show(evolve(plan, pause_budget_ms=group.pause_budget_ms or None), as_json=as_json)
        return
    with TerminalReporter("none") as reporter:

        async def work(members: Mapping[str, Context]) -> GroupPlan:
            return await plan_members(members, wishes, group.group, group.pause_budget_ms or None)

        plan = run(with_members(_addresses(group), store, reporter, work))
    _show(plan, as_json=as_json)


def _show(plan: GroupPlan, *, as_json: bool) -> None:
    if as_json:
        print_json(group_plan_to_plain(plan))
    else:
        click.echo(group_plan_text(plan))


@command.command("apply")
@file_argument
@deadline_option("How long any step may take, in place of each step's own deadline.")
@store_option
@progress_option
@json_option
def _apply(
    *, source: str, deadline_s: float | None, store: Store, progress: str, as_json: bool
) -> None:
    """Save a group: every member, or none.

    On a failure in any member, and on Ctrl-C, every member is undone and every guest runs as before.
    What a killed run leaves, `snapplan group recover GROUP` ends: all are undone, or all finished.
    """
    group = read_group(read_file(source), source)
    wishes = wishes_of(group, source)
    limits = Limits(deadline_s, group.pause_budget_ms or None)
    with TerminalReporter(progress, then=Then.UNDONE) as reporter:

        async def work(members: Mapping[str, Context]) -> GroupSaved:
            return await save_group(
                members,
                wishes,
                group.group,
                awaiting=StoppedBySignals(reporter.stopping),
                limits=limits,
            )

        saved = run(with_members(_addresses(group), store, reporter, work))
    if saved.failure is not None:
        raise saved.failure
    if as_json:
        print_json(group_saved_to_plain(saved))
    else:
        click.echo(group_saved_text(saved))


@command.command("list")
@store_option
@json_option
def _list(*, store: Store, as_json: bool) -> None:
    """List the groups of a store; no VM is asked."""
    known, problems = list_groups(store)
    if as_json:
        print_json(groups_to_plain(known, problems))
    else:
        click.echo(groups_text(known, problems))


@command.command("recover")
@name_argument
@store_option
@progress_option
@json_option
def _recover(*, name: str, store: Store, progress: str, as_json: bool) -> None:
    """Finish or undo what an interrupted run of a group left, in all members alike.

    Every member is finished where the group had decided that its snapshot is made, else every one is
    undone. `snapplan recover --vm ADDR` does the same for one member, by the same record.
    """
    with TerminalReporter(progress, then=Then.STAYS) as reporter:

        async def one(member: GroupMember) -> list[Recovered]:
            try:
                return await connected(
                    member.address,
                    lambda backend: recover(context_of(backend, store, member.address, reporter)),
                )
            except CannotConnect as error:
                offline = offline_of(store, reporter)
                return await recover_unreachable(offline, member.address, error)

        recovered = run(recover_group(store, name, one))
    raise_left(recovered)
    if as_json:
        print_json(recovered_to_plain(recovered, "group"))
    else:
        click.echo(recovered_text(recovered))


def _addresses(group: GroupFile) -> dict[str, str]:
    return {name: member.vm for name, member in group.members}
