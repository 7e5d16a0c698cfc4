"""Loads a group: all members go back, or none begins; no guest goes on until all are loaded.

The order: every member is asked, locked and checked; the load's record is begun, then each journal;
where what is there now is to be kept, that is saved as a group, which leaves the guests standing;
every guest is stopped and looked at once more; `loading` is decided, on the disk; every member is
loaded; `loaded` is decided; the guests go on.  A failure before the first decision brings every guest
back.  One
after it leaves every member standing, whether it is loaded or not: a load has no way back, and to load
the group again is the way on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack, suppress

from attrs import evolve, frozen

from planner.errors import BadInput, Problem, Refused, SnapplanError
from planner.group.driving import Driving
from planner.group.ending import group_failure, of_member
from planner.group.gatekeeper import Gatekeeper
from planner.group.record import GroupMember, GroupRecord, GroupState
from planner.group.records import GroupStore
from planner.group.saved import GroupLoaded
from planner.load.load_checks import LoadPlan
from planner.load.load_run import LoadRun
from planner.load.way_back import after_keeping, keeping_request
from planner.model.group_run import GroupRun
from planner.parts.manifest import Manifest
from planner.program.gates import Gate
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.store.held import Held
from planner.store.journaled import JournaledRun, begin_run
from planner.verbs.context import Awaiting, Context
from planner.verbs.find import find_on_vm
from planner.verbs.group_members import by_member, hold_all, one_store, telling_member
from planner.verbs.group_records import check_free, find_group, pending_problem
from planner.verbs.group_save import MemberWish, save_held
from planner.verbs.load import LoadWish, decide_load, pump_of_load
from planner.verbs.save import Limits

__all__ = ["check_members", "load_group"]


async def load_group(
    members: Mapping[str, Context],
    name: str,
    *,
    awaiting: Awaiting,
    wish: LoadWish | None = None,
    changed: Mapping[str, frozenset[str]] | None = None,
) -> GroupLoaded:
    """Go back to a group's snapshot, on all its members or on none.

    Args:
        members: The VMs, connected, by the names that the group has for them.
        name: The group's name.
        awaiting: How work that changes the VMs is awaited.
        wish: How; for all members alike.  `LoadWish.keep` is the name of a group, and its members' tag,
            that what is there now is saved as.
        changed: By member, disks that were left out and may hold something else now.

    Returns:
        How it ended.  What failed before any disk was reverted has brought every guest back; what failed
        later has left every member standing, and the failure says which are loaded.

    Raises:
        BadInput: There is no such group, or the VMs are not its members.
        Refused: A member cannot be loaded safely; nothing but questions was sent to any.
        CannotConnect: A VM does not answer.
    """
    wish = wish or LoadWish()
    store = one_store(members)
    groups = GroupStore.of(store)
    async with AsyncExitStack() as stack:
        for each in sorted({name, wish.keep or name}):
            stack.enter_context(groups.locked(each))
        if wish.keep:
            check_free(groups, wish.keep)
        known = find_group(store, name)
        _check_members(known.record, members)
        held = await hold_all(members, stack)
        decided = [
            await _decide(
                *(each, known.record, members[each.name], held[each.name]),
                _of_member(wish, (changed or {}).get(each.name, frozenset())),
            )
            for each in known.record.members
        ]
        _raise_refusals(name, decided)
        loading = _begin(groups, known.record, members, held, decided, wish)
        if wish.keep:
            await _keep(members, decided, held, wish, loading, awaiting)
        return await loading.run(awaiting)


async def _keep(  # noqa: PLR0913, PLR0917 - what it is done with
    members: Mapping[str, Context],
    decided: list[_Decided],
    held: Mapping[str, Held],
    wish: LoadWish,
    loading: _Loading,
    awaiting: Awaiting,
) -> None:
    """Save what is there now, as a group; its guests stand then.  Where that fails there is no load."""
    wishes = {
        each.member.name: MemberWish(
            keeping_request(wish.keep, each.manifest, held[each.member.name].met.facts)
        )
        for each in decided
        if each.manifest is not None
    }
    try:
        saved = await save_held(
            members, wishes, wish.keep, held, awaiting=awaiting, limits=Limits()
        )
        if saved.failure is not None:
            raise saved.failure
    except SnapplanError:
        loading.forget()
        raise


def _of_member(wish: LoadWish, changed: frozenset[str]) -> LoadWish:
    return evolve(wish, accepted=evolve(wish.accepted, changed=changed))


def _check_members(record: GroupRecord, members: Mapping[str, Context]) -> None:
    """Refuse a group that was never made, or other members than it has."""
    if not record.committed:
        problem = pending_problem(record.name)
        raise Refused.of(problem)
    check_members(record, members)


def check_members(record: GroupRecord, members: Collection[str]) -> None:
    """Refuse other members than a group has.

    Raises:
        BadInput: A member has no VM, or a VM is no member's.
    """
    wanted = {each.name for each in record.members}
    problems = [
        *(
            Problem("group-member-missing", each, "no VM is given")
            for each in wanted - set(members)
        ),
        *(Problem("group-member-unknown", each, "no member") for each in set(members) - wanted),
    ]
    if problems:
        raise BadInput(problems[0].words, problems=tuple(sorted(problems)), code=problems[0].code)


@frozen
class _Decided:
    """What was decided of a member; without an order it is refused."""

    member: GroupMember
    manifest: Manifest | None = None
    order: LoadPlan | None = None
    problems: tuple[Problem, ...] = ()


async def _decide(
    member: GroupMember, record: GroupRecord, context: Context, held: Held, wish: LoadWish
) -> _Decided:
    """Check one member; what speaks against it is told with that of the others."""
    try:
        manifest = find_on_vm(member.tag, held.vm, held.met).manifest
        _check_own(manifest, record)
        at = evolve(context, backend=held.met.backend)
        order = await decide_load(at, held.vm, manifest, held.met.facts, wish)
        if wish.keep:
            order = after_keeping(order, wish.keep)
    except (Refused, BadInput) as error:
        found = error.as_problems(member.tag)
        if held.met.facts.is_daemon:
            found = tuple(_under_a_daemon(each, member.tag) for each in found)
        return _Decided(member, problems=tuple(of_member(member.name, each) for each in found))
    return _Decided(member, manifest, order)


def _under_a_daemon(problem: Problem, tag: str) -> Problem:
    if problem.code != "disk-only":
        return problem
    return evolve(
        problem,
        message="no QMP command reverts a disk under a storage daemon that runs (fact 21)",
        remedy=f"end the QEMUs and the daemon, then `snapplan load {tag} --offline --alone --yes`; "
        "start all as they were, QEMU with -S, and load the other members, each with --alone (`snapplan "
        "help storage-daemon`)",
    )


def _check_own(manifest: Manifest, record: GroupRecord) -> None:
    group = manifest.group
    if group is None or (group.group, group.run) != (record.name, record.run):
        words = "the snapshot of this tag is not the one that the group has made"
        problem = Problem("group-member-differs", manifest.tag, words, "it was made anew since")
        raise Refused.of(problem)


def _raise_refusals(name: str, decided: list[_Decided]) -> None:
    problems = tuple(problem for each in decided for problem in each.problems)
    if problems:
        message = f"group {name!r} cannot be loaded safely"
        raise Refused(message, problems=problems, code="group-refused")


def _begin(  # noqa: PLR0913, PLR0917 - all that was decided
    groups: GroupStore,
    record: GroupRecord,
    members: Mapping[str, Context],
    held: Mapping[str, Held],
    decided: list[_Decided],
    wish: LoadWish,
) -> _Loading:
    """Write the load's record, then each journal; nothing has been sent to any VM yet."""
    started_ns = time.time_ns()
    run = hashlib.sha256(f"load\0{started_ns}\0{record.name}".encode()).hexdigest()[:12]
    loading = evolve(record, run=run, state=GroupState.BEGUN, started_ns=started_ns)
    groups.loads.write(loading)
    begun: list[_Member] = []
    try:
        for each in decided:
            if each.order is None or each.manifest is None:
                continue
            name, at = each.member.name, held[each.member.name]
            group = GroupRun(record.name, run, name)
            load_run = LoadRun(each.order, each.manifest.lineage, group)
            with by_member(name):
                journaled = begin_run(
                    *(at.vm, at.met.identity, load_run, at.met.facts),
                    instance=at.met.instance,
                    deadline_s=wish.deadline_s,
                    group=group,
                )
            context = evolve(telling_member(name, members[name]), backend=at.met.backend)
            begun.append(_Member(name, each.order, at, journaled, context))
    except SnapplanError:
        for member in begun:
            member.run.journal.remove()
        groups.loads.remove(record.name)
        raise
    return _Loading(groups, loading, tuple(begun), wish.keep)


@frozen
class _Member:
    """A member whose journal is there."""

    name: str
    order: LoadPlan
    held: Held
    run: JournaledRun
    context: Context


@frozen
class _Loading:
    """A load of a group whose record and journals are there."""

    groups: GroupStore
    record: GroupRecord
    members: tuple[_Member, ...]
    kept: str = ""

    def forget(self) -> None:
        """Take back its record and its journals; no VM was told anything."""
        for member in self.members:
            member.run.journal.remove()
        with suppress(BadInput):  # it decides nothing without them
            self.groups.loads.remove(self.record.name)

    async def run(self, awaiting: Awaiting) -> GroupLoaded:
        """Load all members."""
        loads = self.groups.loads
        decisions = {
            Gate.LOAD: lambda: loads.decide(self.record, GroupState.LOADING),
            Gate.LOADED: lambda: loads.decide(self.record, GroupState.LOADED),
        }
        keeper = Gatekeeper.of([each.name for each in self.members], decisions)
        pumps = {
            each.name: pump_of_load(
                *(each.context, each.run, each.order, each.held.met.facts, each.held.met.instance),
                gates=keeper.gates_of(each.name),
            )
            for each in self.members
        }
        driving = Driving(keeper, pumps)

        async def work() -> GroupLoaded:
            return self._settled(await driving.run(), keeper)

        return await awaiting(work(), driving.interrupt)

    def _settled(self, outcomes: Mapping[str, Outcome], keeper: Gatekeeper) -> GroupLoaded:
        failed: SnapplanError | None = None
        for each in self.members:
            try:
                with by_member(each.name):
                    each.run.settle(outcomes[each.name])
            except SnapplanError as error:
                failed = failed or error
        if all(each.phase is not Phase.UNKNOWN for each in outcomes.values()) and failed is None:
            with suppress(BadInput):  # it decides nothing any more
                self.groups.loads.remove(self.record.name)
        if failed is not None:
            raise failed
        clean = "no disk was reverted"
        failure = group_failure(self.record.name, outcomes, keeper.gave_up, clean)
        return GroupLoaded(self.record, outcomes, failure, self.kept)
