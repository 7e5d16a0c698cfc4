"""`snapplan recover`: finish or undo what an interrupted run left."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence

import click

from backends.guest_agent import GuestAgent
from backends.host import QemuHost
from backends.images import QemuImages
from planner.cli.common import (
    connected,
    json_option,
    print_json,
    run,
    store_option,
    vm_option,
)
from planner.cli.reporter import TerminalReporter
from planner.cli.stopping import stopped_by_signals
from planner.errors import BadInput, CannotConnect, Problem
from planner.execute.forgetting import forget_run
from planner.execute.gone import GoneVm, ImagesOfAnother, check_gone, refuse_unknown
from planner.execute.instance import files_of
from planner.execute.meeting import Met, Sameness, is_of, meet, sameness
from planner.execute.ports import Backend
from planner.execute.process_locks import locked_names
from planner.execute.pump import HostClock
from planner.execute.recovery import (
    Link,
    Pending,
    Recovered,
    pending_run,
    pending_runs,
    recover_run,
)
from planner.execute.store import Store, absolute_address
from planner.present.recovery_view import (
    pending_text,
    pending_to_plain,
    recovered_text,
    recovered_to_plain,
)

__all__ = ["command"]


@click.command("recover")
@vm_option
@store_option
@click.option(
    "--forget",
    is_flag=True,
    help="Remove the journals of the VM's unfinished runs, and touch nothing else.",
)
@click.option("--yes", is_flag=True, help="Do not ask before journals are removed.")
@json_option
def command(*, vm: str | None, store: Store, forget: bool, yes: bool, as_json: bool) -> None:
    """Finish or undo what an interrupted run left.

    Without --vm it says what is pending and touches nothing.  A run is finished where all its steps
    had been done, else it is undone; where QEMU is gone, in its images.
    """
    pending = pending_runs(store)
    if not vm and forget:
        raise click.UsageError("give --vm ADDR with --forget")
    if not vm:
        _show(pending, as_json=as_json)
    elif forget:
        _forget([each for each in pending if each.address == absolute_address(vm)], yes=yes)
    else:
        with TerminalReporter() as reporter:
            recovered = run(_recover(vm, store, pending, reporter))
        _tell(recovered, as_json=as_json)


def _show(pending: Sequence[Pending], *, as_json: bool) -> None:
    if as_json:
        print_json(pending_to_plain(pending))
    else:
        click.echo(pending_text(pending))


def _tell(recovered: Sequence[Recovered], *, as_json: bool) -> None:
    for each in recovered:
        if each.outcome.left:
            each.outcome.raise_failure()
    if as_json:
        print_json(recovered_to_plain(recovered))
    else:
        click.echo(recovered_text(recovered))


def _forget(pending: Sequence[Pending], *, yes: bool) -> None:
    """Give up recovery: somebody has put the VM in order by hand."""
    if not pending:
        click.echo("nothing to forget")
        return
    click.echo(pending_text(pending))
    if not yes and not sys.stdin.isatty():
        problem = Problem(
            "confirmation-missing", "recover", "this gives the runs up for good", "add --yes"
        )
        raise BadInput(str(problem), problems=(problem,), code=problem.code)
    if not yes:
        click.confirm("Give these runs up for good?", abort=True, err=True)
    for each in pending:
        forget_run(each)


async def _recover(
    address: str, store: Store, pending: Sequence[Pending], reporter: TerminalReporter
) -> list[Recovered]:
    """Recover the runs of one VM: those of its identity, and those that were at its address."""
    there = [each for each in pending if each.address == absolute_address(address)]
    try:
        return await connected(
            address, lambda backend: _alive(backend, address, store, there, reporter)
        )
    except CannotConnect as error:
        if not there:
            raise
        if error.code != "nobody-listens" or not there[0].address.startswith("/"):
            raise _left_alone(error, there) from error
    return [done for each in there for done in await _one(each, _gone, (), reporter)]


async def _gone(pending: Pending) -> Link:
    """Nobody listens at the address of the run: its images, once it is proved that QEMU is gone."""
    if pending.journal is not None and pending.replayed is not None:
        check_gone(pending.journal, pending.replayed)
    return Link(GoneVm(), QemuImages(), host=QemuHost())


def _left_alone(error: CannotConnect, there: Sequence[Pending]) -> CannotConnect:
    problems = tuple(
        Problem("recovery-pending", str(each.path), "the VM cannot be asked; nothing was touched")
        for each in there
    )
    return CannotConnect(
        error.message,
        problems=(*error.problems, *problems),
        code=error.code,
        vm_state="It is as the interrupted run left it, until it can be asked.",
    )


async def _alive(
    backend: Backend,
    address: str,
    store: Store,
    there: Sequence[Pending],
    reporter: TerminalReporter,
) -> list[Recovered]:
    met = await meet(backend, store, address)
    paths = {each.path for each in there}
    wanted = [each for each in pending_runs(store) if each.path in paths or _is_of(each, met)]

    async def link(pending: Pending) -> Link:
        return await _link(pending, backend, met)

    return [done for each in wanted for done in await _one(each, link, met.lock_names, reporter)]


def _is_of(pending: Pending, met: Met) -> bool:
    if pending.journal is None:
        return pending.vm.vm_key == met.vm.vm_key
    return is_of(pending.journal.header, pending.vm.vm_key, met)


async def _link(pending: Pending, backend: Backend, met: Met) -> Link:
    """What the VM is to a run whose lock is held, now: the QEMU of the run, or another one."""
    now = await met.again(backend)
    journal, replayed = pending.journal, pending.replayed
    if journal is not None and replayed is not None:
        same = Sameness.ANOTHER
        if _is_of(pending, now):
            same = sameness(journal.header, now.instance, now.facts)
        if same is Sameness.SAME:
            return Link(now.backend, backend.images, now.facts, backend.host, GuestAgent)
        if same is Sameness.UNKNOWN:
            refuse_unknown(journal.header)
        check_gone(journal, replayed, files_of(now.facts), now.instance)
    others = None if backend.images is None else QemuImages()
    images = ImagesOfAnother(backend, now.facts, others)
    return Link(GoneVm(), images, host=backend.host)


async def _one(
    pending: Pending,
    link: Callable[[Pending], Awaitable[Link]],
    locks: Sequence[str],
    reporter: TerminalReporter,
) -> list[Recovered]:
    """Recover one run under its VM's locks; none where somebody else just did it."""
    with locked_names(locks), pending.vm.locked():
        now = pending_run(pending.vm, pending.path)
        if now is None:
            return []
        met = await link(now)
        clock = None if met.images is None else HostClock()
        return [
            await stopped_by_signals(
                recover_run(now, met, clock=clock, reporter=reporter),
                lambda: reporter.note("recovery is under way; it ends soon"),
            )
        ]
