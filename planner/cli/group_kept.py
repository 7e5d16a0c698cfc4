"""`snapplan group verify` and `delete`: what is done with a group that was made."""

from __future__ import annotations

import click

from planner.cli.asking import Asking, context_of
from planner.cli.common import connected, json_option, print_json, run, store_option
from planner.cli.group_links import at_option, name_argument, recorded
from planner.cli.reporter import TerminalReporter, Then, progress_option
from planner.delete.delete_checks import Overlays
from planner.errors import Violation
from planner.group.record import GroupMember
from planner.present.group_view import (
    group_deleted_to_plain,
    group_verdict_text,
    group_verdict_to_plain,
)
from planner.present.verdict_view import Verdict
from planner.run.ports import Backend
from planner.store.store import Store
from planner.verbs.context import Context
from planner.verbs.delete import Deleted, check_delete, delete
from planner.verbs.group_records import delete_group, verify_group
from planner.verbs.verify import verify

__all__ = ["delete_command", "verify_command"]


@click.command("verify")
@name_argument
@at_option
@click.option("--deep", is_flag=True, help="Read what there are digests of.")
@store_option
@progress_option
@json_option
def verify_command(  # noqa: PLR0913 - one parameter an option
    *,
    name: str,
    elsewhere: tuple[str, ...],
    deep: bool,
    store: Store,
    progress: str,
    as_json: bool,
) -> int:
    """Compare every member's snapshot with its manifest; see `snapplan verify`.

    Exit 0: all are whole; 30: findings.
    """
    addresses = recorded(store, name, elsewhere)
    with TerminalReporter(progress) as reporter:

        async def one(member: GroupMember) -> Verdict:
            address = addresses[member.name]

            async def work(backend: Backend) -> Verdict:
                context = context_of(backend, store, address, reporter)
                return await verify(context, member.tag, deep=deep)

            return await connected(address, work)

        verdict = run(verify_group(store, name, one))
    if as_json:
        print_json(group_verdict_to_plain(verdict))
    else:
        click.echo(group_verdict_text(verdict))
    return 0 if verdict.whole else Violation.exit_code


@click.command("delete")
@name_argument
@at_option
@click.option(
    "--overlays",
    type=click.Choice([choice.value for choice in Overlays]),
    help="Merge overlays back into the frozen images (commit), or leave the chains as they are (keep).",
)
@click.option("--yes", is_flag=True, help="Do not ask before anything is deleted.")
@store_option
@progress_option
@json_option
def delete_command(  # noqa: PLR0913 - one parameter an option
    *,
    name: str,
    elsewhere: tuple[str, ...],
    overlays: str | None,
    yes: bool,
    store: Store,
    progress: str,
    as_json: bool,
) -> None:
    """Delete the snapshot of every member, and the group's record last.

    The guests run on. A delete that was interrupted is finished by another one.
    """
    addresses = recorded(store, name, elsewhere)
    choice = Overlays(overlays) if overlays else None
    with TerminalReporter(progress, then=Then.STAYS) as reporter:

        def on_vm(backend: Backend, member: GroupMember) -> Context:
            return context_of(backend, store, addresses[member.name], reporter, yes=True)

        async def check_one(member: GroupMember) -> None:
            async def work(backend: Backend) -> None:
                await check_delete(on_vm(backend, member), member.tag, choice, alone=True)

            await connected(addresses[member.name], work)

        async def delete_one(member: GroupMember) -> Deleted:
            async def work(backend: Backend) -> Deleted:
                return await delete(on_vm(backend, member), member.tag, choice, alone=True)

            return await connected(addresses[member.name], work)

        asking = Asking(reporter, yes)
        known = run(delete_group(store, name, check_one, delete_one, asking))
    if as_json:
        print_json(group_deleted_to_plain(known))
    else:
        click.echo(f"Group {name!r} is deleted.")
