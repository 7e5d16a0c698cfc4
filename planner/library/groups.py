"""Groups of VMs, as a tool holds them: several attached VMs at one instant, all or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from planner.errors import BadInput, Problem
from planner.group.planning import GroupPlan
from planner.group.record import GroupMember
from planner.library.progress import OnProgress
from planner.library.snapshot import telling
from planner.library.vm import Vm
from planner.model.request import Request, RunStateAfter
from planner.parts.accepting import Accepted
from planner.present.delete_view import intent_text
from planner.present.group_view import GroupVerdict
from planner.present.load_view import load_intent_text
from planner.present.verdict_view import Verdict
from planner.run.outcome import Outcome
from planner.run.stopping import to_its_end
from planner.verbs.context import Context, agreed
from planner.verbs.delete import Deleted, check_delete, delete
from planner.verbs.group_load import check_members, load_group
from planner.verbs.group_members import by_member, one_store
from planner.verbs.group_records import delete_group, verify_group
from planner.verbs.group_records import find_group as find_recorded
from planner.verbs.group_save import MemberWish, plan_members
from planner.verbs.group_save import save_group as save_members
from planner.verbs.load import LoadWish, check_load
from planner.verbs.save import Limits
from planner.verbs.verify import verify

__all__ = ["Group", "find_group", "plan_group", "save_group"]


@frozen
class Group:
    """A group that was saved, as it was when it was looked at.

    Attributes:
        name: Its name.
        standing: ``whole``, ``incomplete`` (a member's snapshot is gone) or ``pending``.
    """

    name: str
    standing: str
    _members: Mapping[str, Context] = field(repr=False, eq=False)

    @property
    def members(self) -> tuple[str, ...]:
        """Its members' names."""
        return tuple(sorted(self._members))

    async def load(  # noqa: PLR0913 - each is a wish of its own
        self,
        *,
        run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE,
        keep_current: str = "",
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
        accept_changed: Mapping[str, Iterable[str]] | None = None,
        accept_cpu: bool = False,
    ) -> Mapping[str, Outcome]:
        """Go back to it with all members; no guest goes on until all are loaded.

        Args:
            run_state_after: ``as-before`` (the load), ``running`` or ``paused``; for all.
            keep_current: The name of a group to save first what is there now as; empty: it is lost.
            on_progress: Called with each step, its member's name before it.
            deadline_s: How long the load of each member may take, in seconds.
            accept_changed: By member, disks that were left out and may have changed since.
            accept_cpu: Whether a processor may be another one.

        Returns:
            How each member ended, by its name.

        Raises:
            Refused: A member cannot be loaded safely; none was touched.
            RunFailed: It failed before a disk was reverted; all are as they were.
            UndoIncomplete, OutcomeUnknown: It failed later: every member stands; load it again.
        """
        after, accepted = RunStateAfter(run_state_after), Accepted(accept_cpu)
        wish = LoadWish(after, deadline_s, keep_current, accepted)
        changed = {name: frozenset(disks) for name, disks in (accept_changed or {}).items()}
        members = _telling(self._members, on_progress)
        loaded = await load_group(
            members, self.name, awaiting=to_its_end, wish=wish, changed=changed
        )
        if loaded.failure is not None:
            raise loaded.failure
        return loaded.outcomes

    async def verify(self) -> GroupVerdict:
        """Compare every member's snapshot with its record; `GroupVerdict.whole` says how it stands."""

        async def one(member: str, tag: str) -> Verdict:
            return await verify(self._members[member], tag)

        store = one_store(self._members)
        return await verify_group(store, self.name, lambda each: one(each.name, each.tag))

    async def check_load(
        self, *, run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE
    ) -> Mapping[str, str]:
        """Look whether `load` could be done; nothing is changed.

        Returns:
            What it would do, by member.

        Raises:
            Refused, CannotConnect: A member could not be loaded; its name is before each problem.
        """
        wish = LoadWish(RunStateAfter(run_state_after), alone=True)
        said = {}
        for each in self._recorded():
            with by_member(each.name):
                order = await check_load(self._members[each.name], each.tag, wish)
            said[each.name] = load_intent_text(order)
        return said

    async def check_delete(self) -> Mapping[str, str]:
        """Look whether `delete` could be done, as `check_load` does; without members that are gone."""
        known = find_recorded(one_store(self._members), self.name)
        said = {}
        for each in self._recorded():
            if each.name not in known.missing:
                with by_member(each.name):
                    order = await check_delete(self._members[each.name], each.tag, alone=True)
                said[each.name] = intent_text(order)
        return said

    def _recorded(self) -> tuple[GroupMember, ...]:
        return find_recorded(one_store(self._members), self.name).record.members

    async def delete(self) -> None:
        """Delete the snapshot of every member, and the group's record last; the guests run on.

        Raises:
            Refused: A member's snapshot cannot be deleted safely; nothing was deleted.
            RunFailed: Not all of one could be deleted; those before it in order of name are.
        """

        async def check_one(member: GroupMember) -> None:
            await check_delete(self._members[member.name], member.tag, alone=True)

        async def delete_one(member: GroupMember) -> Deleted:
            return await delete(self._members[member.name], member.tag, alone=True)

        store = one_store(self._members)
        await delete_group(store, self.name, check_one, delete_one, agreed)


async def plan_group(
    members: Mapping[str, Vm],
    name: str,
    *,
    requests: Mapping[str, Request] | None = None,
    partial: bool = False,
) -> GroupPlan:
    """Plan what `save_group` would do, and prove that it is one instant; VMs are asked questions only.

    Raises:
        BadInput, Refused, CannotConnect: With the member's name before each problem.
    """
    wishes = await _wishes(members, name, requests or {}, partial=partial)
    return await plan_members({each: vm.context for each, vm in members.items()}, wishes, name)


async def _wishes(
    members: Mapping[str, Vm], name: str, requests: Mapping[str, Request], *, partial: bool
) -> dict[str, MemberWish]:
    unknown = sorted(set(requests) - set(members))
    if unknown:
        problem = Problem("group-member-unknown", unknown[0], "a request for no member")
        raise BadInput.of(problem)
    return {
        each: MemberWish(await vm.request(requests.get(each, name), partial=partial))
        for each, vm in members.items()
    }


async def save_group(  # noqa: PLR0913 - each is a wish of its own
    members: Mapping[str, Vm],
    name: str,
    *,
    requests: Mapping[str, Request] | None = None,
    partial: bool = False,
    pause_budget_ms: float | None = None,
    deadline_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Group:
    """Take a snapshot of several VMs at one instant, or leave all of them as they were.

    Args:
        members: Attached VMs, all with one store, by the names that the group has for them.
        name: The group's name; the tag of each member's snapshot, where nothing else is asked for.
        requests: What is asked for of a member; left out: everything that can be saved.
        partial: Whether a member may be saved of which not everything can be.
        pause_budget_ms: How long the guests may stand still, in milliseconds; None: as long as it takes.
        deadline_s: How long any step may take, in seconds, in place of each step's own deadline.
        on_progress: Called with each step, its member's name before it.

    Returns:
        The group; every guest runs on as it did, unless its request says otherwise.

    Raises:
        BadInput, Refused, CannotConnect: Nothing but questions was sent to any VM.
        RunFailed: A member failed; every member is undone, and every guest runs as before.
        UndoIncomplete, OutcomeUnknown: Something is left; the problems say of which member.
    """
    wishes = await _wishes(members, name, requests or {}, partial=partial)
    contexts = {each: vm.context for each, vm in members.items()}
    saved = await save_members(
        _telling(contexts, on_progress),
        wishes,
        name,
        awaiting=to_its_end,
        limits=Limits(deadline_s, pause_budget_ms),
    )
    if saved.failure is not None:
        raise saved.failure
    return Group(name, "whole", contexts)


def find_group(members: Mapping[str, Vm], name: str) -> Group:
    """A group that was saved before, on the VMs that are its members.

    Raises:
        BadInput: The store has no such group (``group-unknown``), or a member's VM is not given
            (``group-member-missing``), or a VM is no member's (``group-member-unknown``).
    """
    contexts = {each: vm.context for each, vm in members.items()}
    known = find_recorded(one_store(contexts), name)
    check_members(known.record, contexts)
    return Group(name, known.standing, contexts)


def _telling(members: Mapping[str, Context], on_progress: OnProgress | None) -> dict[str, Context]:
    return {name: telling(context, on_progress) for name, context in members.items()}
