"""What the commands on groups share: connections to all members, and where these are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import click

from planner.cli.asking import context_of
from planner.cli.common import gather_facts, read_file
from planner.cli.plan_command import check_design
from planner.cli.reporter import TerminalReporter
from planner.model.facts import Facts
from planner.model.group_text import GroupFile
from planner.model.request_text import read_request
from planner.store.finding import find_backend
from planner.store.store import Store
from planner.verbs.context import Context
from planner.verbs.group_members import Refusals, by_member
from planner.verbs.group_records import find_group
from planner.verbs.group_save import MemberWish

__all__ = [
    "at_option",
    "facts_of_members",
    "facts_option",
    "file_argument",
    "name_argument",
    "of_members",
    "recorded",
    "wishes_of",
    "with_members",
]

_Result = TypeVar("_Result")

name_argument = click.argument("name", metavar="GROUP")
file_argument = click.argument(
    "source", metavar="GROUPFILE", type=click.Path(dir_okay=False, allow_dash=True)
)
at_option = click.option(
    "--vm",
    "elsewhere",
    metavar="MEMBER=ADDR",
    multiple=True,
    help="Where the VM of a member is now, if not where it was. Once for each.",
)
facts_option = click.option(
    "--facts",
    "recorded",
    metavar="MEMBER=FILE",
    multiple=True,
    help="What the VM of a member is, from a file of `inspect --facts-out`; the others are asked.",
)


def wishes_of(group: GroupFile, source: str) -> dict[str, MemberWish]:
    """Each member's request, from its file beside the group's."""
    folder = Path() if source == "-" else Path(source).parent
    wishes, refusals = {}, Refusals(group.group)
    for name, member in group.members:
        with refusals.of(name):
            path = str(folder / member.request)
            check_design(member.design)
            wishes[name] = MemberWish(read_request(read_file(path), path), member.design)
    refusals.raise_all()
    return wishes


def recorded(store: Store, name: str, elsewhere: tuple[str, ...]) -> dict[str, str]:
    """Where the members of a recorded group are."""
    found = {each.name: each.address for each in find_group(store, name).record.members}
    return found | dict(of_members(elsewhere, tuple(found), "ADDR"))


def of_members(
    texts: Iterable[str], members: Collection[str], what: str
) -> Iterator[tuple[str, str]]:
    """Read words of the form MEMBER=…: each member, and what is given for it.

    Args:
        texts: The words.
        members: The names of all members.
        what: What is given, as the option's help calls it.

    Raises:
        BadParameter: One is of another form, or its member is none.
    """
    for text in texts:
        member, equals, given = text.partition("=")
        if not (equals and given and member in members):
            known = ", ".join(members)
            raise click.BadParameter(f"{text!r} is no MEMBER={what}; members: {known}")
        yield member, given


async def with_members(
    addresses: Mapping[str, str],
    store: Store,
    reporter: TerminalReporter,
    use: Callable[[Mapping[str, Context]], Awaitable[_Result]],
) -> _Result:
    """Connect to every member, use the connections, and end them whatever happens."""
    async with AsyncExitStack() as links:
        members = {}
        for name, address in addresses.items():
            with by_member(name):
                connect, place = find_backend(address)
                link = await connect(place)
                links.push_async_callback(link.close)
                members[name] = context_of(link, store, address, reporter)
        return await use(members)


def facts_of_members(group: GroupFile, recorded: tuple[str, ...]) -> dict[str, Facts]:
    """Each member's VM: from a file, or asked."""
    names = [name for name, _ in group.members]
    files = dict(of_members(recorded, names, "FILE"))
    found = {}
    for name, line in group.members:
        with by_member(name):
            recording = files.get(name)
            found[name] = gather_facts(None if recording else line.vm, recording)
    return found
