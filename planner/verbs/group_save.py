"""Saves a group: several VMs, one instant, all or none.

The order: every VM is asked and locked; every member is planned, and the plans are checked and proved
together; the group's record is begun, then each member's journal; all members run at once and wait for
each other at the gates; the group decides; each member is recorded, or has undone itself.  What a crash
leaves, `recover` ends: of all members alike, by what the record says (`planner.group.record`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

from attrs import evolve, frozen

from planner.compile.designs import AUTO
from planner.compile.lowering import monolithic, transactional
from planner.compile.plan import Plan, check_unchanged, compile_request
from planner.errors import BadInput, Problem, SnapplanError
from planner.group.driving import Driving
from planner.group.ending import group_failure, of_member, unwritten_failure
from planner.group.gatekeeper import Gatekeeper
from planner.group.planning import GroupPlan, MemberPlan, in_group, plan_group
from planner.group.record import GroupMember, GroupRecord, GroupState
from planner.group.records import GroupStore
from planner.group.saved import GroupSaved
from planner.group.serving import Servers
from planner.host.process_io import meter_of
from planner.model.facts import Facts
from planner.model.group_run import GroupRun
from planner.model.request_text import ReadRequest
from planner.program.gates import Gate, stops_a_guest
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.run.ports import Agent
from planner.save.save_run import begin_save
from planner.store.held import Held
from planner.store.journaled import JournaledRun
from planner.store.meeting import Met
from planner.verbs.context import Awaiting, Context
from planner.verbs.group_members import (
    Refusals,
    by_member,
    hold_all,
    meet_all,
    one_store,
    telling_member,
)
from planner.verbs.group_records import check_free
from planner.verbs.group_servers import servers_seen
from planner.verbs.save import Limits, check_saving, pump_of

__all__ = [
    "GroupSaved",
    "MemberWish",
    "plan_members",
    "plan_of_facts",
    "save_group",
    "save_held",
]


@frozen
class MemberWish:
    """What is wished of one member.

    Attributes:
        source: Its request, or a plan, which must still fit its VM.
        design: For a request: a design's name, or `auto`.
    """

    source: Plan | ReadRequest
    design: str = AUTO


async def plan_members(
    members: Mapping[str, Context],
    wishes: Mapping[str, MemberWish],
    name: str,
    pause_budget_ms: float | None = None,
) -> GroupPlan:
    """Plan a group; its VMs are asked questions only.

    Args:
        members: The VMs, connected, by the names that the group has for them.
        wishes: What is wished of each.
        name: The group's name.
        pause_budget_ms: How long the guests may stand still, in milliseconds.

    Raises:
        BadInput, Refused, CannotConnect: With the member's name before each problem.
    """
    planned, refusals = [], Refusals(name)
    met = await meet_all(members)
    servers = servers_seen(met)
    for member, each in met.items():
        with refusals.of(member):
            seen = servers.get(member, {})
            planned.append(_planned(member, wishes[member], each, each.facts, seen))
    refusals.raise_all()
    return plan_group(name, planned, pause_budget_ms)


def plan_of_facts(
    facts: Mapping[str, Facts], wishes: Mapping[str, MemberWish], name: str
) -> GroupPlan:
    """Plan a group by facts alone; whether members share images is not known then.

    Args:
        facts: Of each member's VM, by the member's name.
        wishes: What is wished of each.
        name: The group's name.

    Raises:
        BadInput, Refused: With the member's name before each problem.
    """
    planned, refusals = [], Refusals(name)
    for member, its in facts.items():
        with refusals.of(member):
            planned.append(MemberPlan(member, "", _plan_of(wishes[member], its, {}), its))
    refusals.raise_all()
    return plan_group(name, planned)


async def save_group(
    members: Mapping[str, Context],
    wishes: Mapping[str, MemberWish],
    name: str,
    *,
    awaiting: Awaiting,
    limits: Limits | None = None,
) -> GroupSaved:
    """Take a snapshot of several VMs at one instant, or leave all of them as they were.

    Args:
        members: The VMs, connected, by the names that the group has for them; all with one store.
        wishes: What is wished of each.
        name: The group's name.
        awaiting: How work that changes the VMs is awaited.
        limits: How long each step, and the pause of the group, may take.

    Returns:
        How it ended.  A member that failed raises nothing: every member has undone itself, and the
        failure says why.

    Raises:
        BadInput, Refused, VmChanged, CannotConnect: Nothing but questions was sent to any VM.
    """
    limits = limits or Limits()
    groups = GroupStore.of(one_store(members))
    async with AsyncExitStack() as stack:
        stack.enter_context(groups.locked(name))
        check_free(groups, name)
        held = await hold_all(members, stack)
        return await save_held(members, wishes, name, held, awaiting=awaiting, limits=limits)


async def save_held(  # noqa: PLR0913 - what it is done with
    members: Mapping[str, Context],
    wishes: Mapping[str, MemberWish],
    name: str,
    held: Mapping[str, Held],
    *,
    awaiting: Awaiting,
    limits: Limits,
) -> GroupSaved:
    """Save a group whose locks, and those of its members, are held; see `save_group`."""
    groups = GroupStore.of(one_store(members))
    plan = await _decide(members, wishes, name, held, limits)
    saving = _begin(groups, members, plan, held, limits)
    return await saving.run(awaiting, limits)


def _planned(member: str, wish: MemberWish, met: Met, facts: Facts, servers: Servers) -> MemberPlan:
    known = met.identity
    plan = _plan_of(wish, facts, servers)
    return MemberPlan(member, known.address, plan, facts, known.images, known.below, servers)


def _plan_of(wish: MemberWish, facts: Facts, servers: Servers) -> Plan:
    """A member's plan; `auto` takes the first design that can wait in the pause."""
    if isinstance(wish.source, Plan):
        check_unchanged(wish.source, facts)
        return wish.source
    with _in_group(servers):
        plan = compile_request(wish.source, facts, wish.design)
        chose_job = wish.design == AUTO and plan.program.design == monolithic.NAME
        if chose_job and plan.program.resolution.pauses:
            return compile_request(wish.source, facts, transactional.NAME)
    return plan


@contextmanager
def _in_group(servers: Servers) -> Iterator[None]:
    """Say of what is raised about a member's request what can be done in a group."""
    try:
        yield
    except SnapplanError as error:
        error.problems = tuple(in_group(each, servers) for each in error.problems)
        raise


async def _decide(
    members: Mapping[str, Context],
    wishes: Mapping[str, MemberWish],
    name: str,
    held: Mapping[str, Held],
    limits: Limits,
) -> GroupPlan:
    planned, refusals = [], Refusals(name)
    servers = servers_seen({member: at.met for member, at in held.items()})
    for member, context in members.items():
        at = held[member]
        seen = servers.get(member, {})
        with refusals.of(member):
            facts = await at.facts()
            found = _planned(member, wishes[member], at.met, facts, seen)
            with _in_group(seen):
                check_saving(found.plan, facts, at.vm, context.backend, limits)
            planned.append(found)
    refusals.raise_all()
    return plan_group(name, planned, limits.pause_budget_ms)


def _begin(
    groups: GroupStore,
    members: Mapping[str, Context],
    plan: GroupPlan,
    held: Mapping[str, Held],
    limits: Limits,
) -> _Saving:
    """Write the record, then each journal; nothing has been sent to any VM yet.

    Raises:
        BadInput, Refused: One of them cannot be written; none of them is left.
    """
    started_ns = time.time_ns()
    run = hashlib.sha256(f"{started_ns}\0{plan.name}".encode()).hexdigest()[:12]
    listed = tuple(_listed(each, held[each.name]) for each in plan.members)
    record = GroupRecord(plan.name, run, GroupState.BEGUN, listed, started_ns)
    groups.write(record)
    begun: list[_Member] = []
    try:
        for each in plan.members:
            at, group = held[each.name], GroupRun(plan.name, run, each.name)
            with by_member(each.name):
                journaled = begin_save(
                    *(at.vm, at.met.identity, each.plan, each.facts),
                    instance=at.met.instance,
                    deadline_s=limits.deadline_s,
                    group=group,
                )
            context = telling_member(each.name, members[each.name])
            begun.append(_Member(each, at, journaled, evolve(context, backend=at.met.backend)))
    except SnapplanError:
        for member in begun:
            member.run.journal.remove()
        groups.remove(plan.name)
        raise
    return _Saving(groups, plan, record, tuple(begun))


def _listed(member: MemberPlan, held: Held) -> GroupMember:
    identity = held.met.identity
    vm = identity.uuid or identity.name
    tag = member.plan.request.tag
    return GroupMember(member.name, tag, held.vm.vm_key, vm, identity.address)


@frozen
class _Member:
    """A member whose journal is there."""

    planned: MemberPlan
    held: Held
    run: JournaledRun
    context: Context


@frozen
class _Saving:
    """A group whose record and journals are there."""

    groups: GroupStore
    plan: GroupPlan
    record: GroupRecord
    members: tuple[_Member, ...]

    async def run(self, awaiting: Awaiting, limits: Limits) -> GroupSaved:
        """Run all members to their ends, and record what they have come to."""
        keeper = Gatekeeper.of(
            [each.planned.name for each in self.members],
            {Gate.COMMIT: lambda: self.groups.decide(self.record, GroupState.COMMITTED)},
            limits.pause_budget_ms,
            [
                each.planned.name
                for each in self.members
                if stops_a_guest(each.planned.plan.program)
            ],
        )
        agents: list[Agent] = []
        pumps = {}
        for each in self.members:
            name, agent = each.planned.name, None
            if each.run.run.agent:
                agent = each.context.agents(each.run.run.agent)
                agents.append(agent)
            memory = each.planned.facts.memory_bytes
            meter = meter_of(each.held.met.instance.process, memory)
            gates = keeper.gates_of(name)
            pumps[name] = pump_of(each.context, each.run, limits, meter, agent, gates)
        driving = Driving(keeper, pumps)

        async def work() -> GroupSaved:
            try:
                return self._settled(await driving.run(), keeper)
            finally:
                for agent in agents:
                    await agent.close()

        return await awaiting(work(), driving.interrupt)

    def _settled(self, outcomes: Mapping[str, Outcome], keeper: Gatekeeper) -> GroupSaved:
        """Record each member, or let its journal go; then the group's record, where nothing is left."""
        manifests: dict[str, Path] = {}
        unwritten: list[Problem] = []
        for each in self.members:
            name = each.planned.name
            try:
                path = each.run.settle(outcomes[name])
            except SnapplanError as error:
                unwritten += [of_member(name, problem) for problem in error.problems]
            else:
                manifests |= {} if path is None else {name: path}
        failure = group_failure(self.plan.name, outcomes, keeper.gave_up)
        if unwritten:
            failure = unwritten_failure(self.plan.name, tuple(unwritten))
        elif all(each.phase is Phase.UNDONE for each in outcomes.values()):
            with suppress(BadInput):  # else `recover` sees that nothing is to be done
                self.groups.remove(self.plan.name)
        return GroupSaved(self.plan, self.record.run, outcomes, manifests, failure)
