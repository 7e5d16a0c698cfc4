"""Runs the restore of a group: its members' QEMUs side by side; none goes on before all have loaded.

What is decided and asked, and what a failure amounts to, is `planner.verbs.group_restore`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from attrs import define, field

from planner.errors import InternalError, Problem
from planner.group.ending import of_member
from planner.load.recording import RestoreRecord
from planner.load.restored_vm import check_started, let_run, run_restored
from planner.load.restoring import Disks
from planner.load.started import Restored
from planner.load.starting import StartedQemu, start_and_use
from planner.load.starting_together import (
    all_or_the_first_error,
    await_links,
    launching_again,
)
from planner.model.request import RunStateAfter
from planner.parts.readied import Readied
from planner.run.ports import Backend
from planner.run.reporting import telling
from planner.verbs.context import Offline
from planner.verbs.group_members import by_member
from planner.verbs.restore import write_down
from planner.verbs.restore_decision import RestoreDecision, RestoreWish

__all__ = ["Member", "run_members"]


@define
class Member:
    """A member that is being restored.

    Attributes:
        name: What the group calls it.
        decided: What is done.
        disks: Its disks.
        record: Of its restore.
        offline: What it is done with; its reporter says whose steps they are.
        wish: How.
        others: The words of the command lines of the others.
        reads: Whether its QEMU may have begun to read its state, and so to revert its disks.
    """

    name: str
    decided: RestoreDecision
    disks: Disks
    record: RestoreRecord
    offline: Offline
    wish: RestoreWish
    others: tuple[str, ...] = ()
    reads: bool = field(init=False, default=False)

    def left(self) -> list[Problem]:
        """What could not be taken back."""
        failure = self.disks.taken_back
        found = list(failure.left) if failure is not None else []
        if self.reads:
            tag = self.decided.plan.manifest.tag
            found += [
                Problem("disk-reverted", disk.part.disk, f"it may be reverted to {tag!r}")
                for disk in self.decided.plan.disks
                if disk.how is Readied.AS_IT_IS
            ]
        return [of_member(self.name, each) for each in found]


async def run_members(members: list[Member]) -> dict[str, Restored]:
    """Make the disks ready, start all QEMUs, and let the guests go on when all have read their state.

    Raises:
        SnapplanError: A member failed.  Every QEMU is ended; whose disks are not taken back yet, their
            `Disks.taken_back` does not say.
    """
    for member in members:
        with by_member(member.name):
            await member.disks.make()
            member.record.made(ready=False)
    if any(member.decided.plan.reverts for member in members):
        # What does not come up, or is another machine, must show before an image is given up.
        for started, _ in (await _side_by_side(members, _check)).values():
            started.end()
        for member in members:
            with by_member(member.name):
                await member.disks.revert()
    for member in members:
        member.record.starting(member.decided.socket)
    ended = await _side_by_side(members, _load)
    restored = {}
    for member in members:
        (started, state), decided = ended[member.name], member.decided
        restored[member.name] = Restored(decided.plan, started.pid, decided.socket, state)
        started.leave()
    return restored


_Use = Callable[[Member, Backend, asyncio.Barrier], Awaitable[str]]


async def _side_by_side(members: list[Member], use: _Use) -> dict[str, tuple[StartedQemu, str]]:
    """Start all QEMUs and use each; where one fails, all are ended."""
    meeting = asyncio.Barrier(len(members))

    def working(member: Member) -> Callable[[], Awaitable[tuple[StartedQemu, str]]]:
        async def work() -> tuple[StartedQemu, str]:
            if member.offline.launch is None:
                raise InternalError("nobody can start a QEMU here")
            launch, decided = launching_again(member.offline.launch), member.decided
            with by_member(member.name):
                return await start_and_use(
                    *(launch, decided.words, decided.socket),
                    lambda backend: use(member, backend, meeting),
                    member.disks,
                    member.record.started if use is _load else None,
                )

        return work

    return await all_or_the_first_error({each.name: working(each) for each in members})


async def _check(member: Member, backend: Backend, meeting: asyncio.Barrier) -> str:
    facts = await check_started(member.decided.plan, backend)
    await meeting.wait()  # an end of a link that ends would end the other
    return facts.run_state


async def _load(member: Member, backend: Backend, meeting: asyncio.Barrier) -> str:
    """Read the machine state, and let the guest run when all members have read theirs."""
    plan, wish = member.decided.plan, member.wish
    await check_started(plan, backend)
    await meeting.wait()
    for link in await await_links(backend, member.others):
        telling(member.offline.reporter).note(
            f"link {link!r} is not connected: a guest that was saved while it waited to send on it does "
            "not send any more (fact 118)"
        )
    await meeting.wait()
    member.reads = True
    state = await run_restored(
        *(plan, backend, RunStateAfter.PAUSED, wish.deadline_s, member.offline.reporter)
    )
    await meeting.wait()
    if wish.run_state_after is not RunStateAfter.PAUSED:
        state = await let_run(plan.manifest.tag, backend)
    await write_down(member.decided, backend, member.offline)
    await meeting.wait()
    return state
