"""`snapplan group load`: a group goes back, in its running VMs or in new ones."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import click

from planner.cli.asking import offline_of
from planner.cli.common import json_option, print_json, run, store_option
from planner.cli.group_links import at_option, name_argument, of_members, recorded, with_members
from planner.cli.manifests import secret_option
from planner.cli.reporter import TerminalReporter, Then, progress_option
from planner.cli.run_options import deadline_option, run_state_option
from planner.cli.stopping import StoppedBySignals
from planner.group.saved import GroupLoaded
from planner.model.image_key import Secrets
from planner.model.request import RunStateAfter
from planner.parts.accepting import Accepted
from planner.present.group_restore_view import group_restored_text, group_restored_to_plain
from planner.present.group_view import group_loaded_text, group_loaded_to_plain
from planner.store.store import Store
from planner.verbs.context import Context
from planner.verbs.group_load import load_group
from planner.verbs.load import LoadWish
from planner.verbs.restore_decision import RestoreWish

__all__ = ["load_command"]


@click.command("load")
@name_argument
@at_option
@run_state_option("What every VM does when the group is loaded.")
@click.option(
    "--keep-current",
    "keep",
    metavar="GROUP",
    default="",
    help="First save what is there now as a group of this name, so that there is a way back.",
)
@click.option(
    "--accept-changed",
    "changed",
    metavar="MEMBER=DISK",
    multiple=True,
    help="Load although this disk of this member, which is no part of its snapshot, holds something "
    "else now. Once for each.",
)
@click.option(
    "--accept-cpu", is_flag=True, help="Load although a VM's processor is another one than it was."
)
@click.option(
    "--run",
    "lines",
    metavar="MEMBER=LINE",
    multiple=True,
    help="Start this member's QEMU by this command line, and restore into it; places as for `snapplan "
    "load --run`. Once for each member: all go back so, or none.",
)
@click.option(
    "--qmp",
    "sockets",
    metavar="MEMBER=PATH",
    multiple=True,
    help="With --run: the socket for {qmp} of this member; else the one of the VM that was saved.",
)
@click.option(
    "--copy-to",
    "folders",
    metavar="MEMBER=FOLDER",
    multiple=True,
    help="With --run: copy this member's images there that would else be reverted, so that nothing that "
    "they hold now is lost.",
)
@click.option("--yes", is_flag=True, help="Do not ask before what a disk holds now is lost.")
@secret_option
@deadline_option("How long the load of each member may take.")
@store_option
@progress_option
@json_option
def load_command(  # noqa: PLR0913 - one parameter an option
    *,
    name: str,
    elsewhere: tuple[str, ...],
    run_state_after: str,
    keep: str,
    changed: tuple[str, ...],
    accept_cpu: bool,
    lines: tuple[str, ...],
    sockets: tuple[str, ...],
    folders: tuple[str, ...],
    yes: bool,
    secrets: Secrets,
    deadline_s: float | None,
    store: Store,
    progress: str,
    as_json: bool,
) -> None:
    """Go back to a group's snapshot: every member, or none.

    In the VMs that run: all are checked first, then all guests are stopped, then all are loaded, and
    none goes on until all are. A failure before the first disk is reverted leaves the VMs as they were.
    One later leaves every member standing, and to load the group again is the way on. What is under way
    between the guests now reaches them once they are loaded: end the links between them before, or
    their connections after.

    With --run for each member: in new QEMUs, which any parts can go back to; end the old ones first.
    All are started, and their links made; none goes on until all have read their state. What fails ends
    them all, and takes back what was made.
    """
    accepted = Accepted(accept_cpu)
    after = RunStateAfter(run_state_after)
    known = recorded(store, name, elsewhere)
    per_member = _changed(changed, known)
    if lines:
        if elsewhere or keep:
            raise click.UsageError("--vm and --keep-current are for VMs that run: no --run")
        listens, copied = _by_member(sockets, known, "PATH"), _folders(folders, known)
        wishes = {
            member: RestoreWish(
                line,
                listens.get(member, ""),
                copied.get(member, ""),
                after,
                deadline_s,
                Accepted(accept_cpu, per_member.get(member, frozenset())),
                alone=True,
            )
            for member, line in _by_member(lines, known, "LINE").items()
        }
        with TerminalReporter(progress, then=Then.UNDONE) as reporter:
            from planner.verbs.group_restore import restore_group  # noqa: PLC0415 - seldom needed

            gone = offline_of(store, reporter, yes=yes, secrets=secrets)
            restored = run(restore_group(gone, name, wishes))
        text, plain = group_restored_text(restored), group_restored_to_plain(restored)
    else:
        if sockets or folders or secrets.files:
            raise click.UsageError("--qmp, --copy-to and --secret need --run")
        wish = LoadWish(after, deadline_s, keep, accepted)
        with TerminalReporter(progress, then=Then.WHOLE_OR_NOT) as reporter:

            async def work(members: Mapping[str, Context]) -> GroupLoaded:
                return await load_group(
                    members,
                    name,
                    awaiting=StoppedBySignals(reporter.stopping),
                    wish=wish,
                    changed=per_member,
                )

            loaded = run(with_members(known, store, reporter, work))
        if loaded.failure is not None:
            raise loaded.failure
        text, plain = group_loaded_text(loaded), group_loaded_to_plain(loaded)
    if as_json:
        print_json(plain)
    else:
        click.echo(text)


def _by_member(texts: Iterable[str], members: Collection[str], what: str) -> dict[str, str]:
    """What was given for each member, once for each."""
    found: dict[str, str] = {}
    for member, given in of_members(texts, members, what):
        if member in found:
            raise click.BadParameter(f"{member!r} is given twice")
        found[member] = given
    return found


def _folders(texts: Iterable[str], members: Collection[str]) -> dict[str, str]:
    found = _by_member(texts, members, "FOLDER")
    for folder in found.values():
        if not Path(folder).is_dir():
            raise click.BadParameter(f"{folder!r} is no folder")
    return {member: os.path.realpath(folder) for member, folder in found.items()}


def _changed(texts: tuple[str, ...], members: Collection[str]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for member, disk in of_members(texts, members, "DISK"):
        found[member] = found.get(member, frozenset()) | {disk}
    return found
