"""Restores a group: each member in a fresh QEMU, all of them or none.

The order: every member is looked at, and what would be lost is asked for once; all new files are made;
all QEMUs are started, since their links are made while they start; where images are to be reverted they
are ended again, the images are reverted, and all are started anew; each reads its machine state; when
all have, the guests go on.  What fails ends every QEMU that was started, and takes every new file back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack

from attrs import evolve

from planner.errors import (
    BadInput,
    Interrupted,
    Problem,
    Refused,
    RunFailed,
    SnapplanError,
    UndoIncomplete,
)
from planner.group.ending import of_member
from planner.group.record import GroupMember, GroupRecord
from planner.group.records import GroupStore
from planner.host.host_clock import HostClock
from planner.load.recording import RestoreRecord
from planner.load.restoring import Disks
from planner.load.started import GroupRestored
from planner.parts.manifest import Manifest
from planner.run.consent import decide_and_ask
from planner.run.reporting import telling
from planner.run.stopping import to_its_end
from planner.store.current import reverting
from planner.store.store import VmStore
from planner.verbs.context import Offline, Question
from planner.verbs.find import FoundManifest
from planner.verbs.group_members import MemberReporter, by_member
from planner.verbs.group_records import check_whole, find_group, manifest_of
from planner.verbs.group_restoring import Member, run_members
from planner.verbs.restore_decision import RestoreDecision, RestoreWish, decide_restore
from planner.verbs.stopped import stopped_by_cancelling

__all__ = ["restore_group"]


async def restore_group(
    offline: Offline, name: str, wishes: Mapping[str, RestoreWish]
) -> GroupRestored:
    """Start a fresh QEMU for each member of a group, from its snapshot; all of them or none.

    Args:
        offline: The store, the images, and who starts QEMU and is asked.
        name: The group's name.
        wishes: How each member is restored, by its name; each with a command line.  What becomes of the
            guests is that of the first.

    Raises:
        BadInput: There is no such group, a member has no command line, or nobody could be asked.
        Refused: A member cannot be restored safely; nothing was made.
        RunFailed: A QEMU did not start, or did not take its machine state.  All are ended, and no new
            file is left (`UndoIncomplete`: one is, or a disk was reverted).
    """
    groups = GroupStore.of(offline.store)
    with ExitStack() as locks:
        locks.enter_context(groups.locked(name))
        known = find_group(offline.store, name)
        check_whole(known)
        record = known.record
        _check_wishes(record, wishes)
        for member in sorted(record.members, key=lambda each: each.vm_key):
            with by_member(member.name):
                locks.enter_context(_share(offline, member).locked())

        async def decide() -> dict[str, RestoreDecision]:
            return await _decide(offline, record, wishes)

        decided = await decide_and_ask(decide, lambda each: _ask(name, each, offline), name)
        return await _do(offline, record, wishes, decided)


def _share(offline: Offline, member: GroupMember) -> VmStore:
    return VmStore(offline.store.root / member.vm_key, offline.store.view)


def _check_wishes(record: GroupRecord, wishes: Mapping[str, RestoreWish]) -> None:
    names = {each.name for each in record.members}
    remedy = "give --run MEMBER=LINE for each member"
    problems = [
        *(Problem("group-member-unknown", each, "no member") for each in set(wishes) - names),
        *(
            Problem("group-member-missing", each, "no command line is given for it", remedy)
            for each in sorted(names)
            if each not in wishes or not wishes[each].template
        ),
    ]
    if problems:
        message = f"group {record.name!r} has the members {', '.join(sorted(names))}"
        raise BadInput(message, problems=tuple(sorted(problems)), code=problems[0].code)


async def _decide(
    offline: Offline, record: GroupRecord, wishes: Mapping[str, RestoreWish]
) -> dict[str, RestoreDecision]:
    """Decide every member; what speaks against each is told together."""
    decided: dict[str, RestoreDecision] = {}
    problems: list[Problem] = []
    for member in record.members:
        try:
            manifest = manifest_of(offline.store, record, member)
            if manifest is None:
                words = "its snapshot is not recorded any more"
                raise Refused.of(Problem("group-member-differs", member.tag, words))
            if not manifest.machine:
                raise Refused.of(_of_a_daemon(manifest))
            vm = _share(offline, member)
            found = FoundManifest(manifest, vm.manifest_path(member.tag), vm.view)
            decided[member.name] = await decide_restore(found, vm, wishes[member.name], offline)
        except (Refused, BadInput) as error:
            problems += [of_member(member.name, each) for each in error.as_problems(member.tag)]
    problems += _used_twice(decided)
    if problems:
        message = f"group {record.name!r} cannot be restored safely"
        raise Refused(message, problems=tuple(problems), code="group-refused")
    return decided


def _of_a_daemon(manifest: Manifest) -> Problem:
    words = "it is a storage daemon's, which is no QEMU that could be started here"
    remedy = (
        "`snapplan load --offline --alone` makes its disks ready; start the daemon, then the VMs "
        "(snapplan help storage-daemon)"
    )
    return Problem("no-machine", manifest.tag, words, remedy)


def _used_twice(decided: Mapping[str, RestoreDecision]) -> list[Problem]:
    """Files and sockets that two members would have."""
    owners: dict[str, str] = {}
    problems = []
    for name, decision in decided.items():
        paths = [disk.file for disk in decision.plan.disks]
        for path in (*dict.fromkeys(paths), decision.socket):
            first = owners.setdefault(path, name)
            if first != name:
                words = f"members {first!r} and {name!r} would both have it"
                remedy = "give each its own (--qmp MEMBER=PATH, --copy-to MEMBER=FOLDER)"
                problems.append(Problem("path-used-twice", path, words, remedy))
    return problems


def _ask(name: str, decided: Mapping[str, RestoreDecision], offline: Offline) -> bool:
    losing = [
        f"{disk.part.disk} of {member}"
        for member, decision in decided.items()
        for disk in decision.plan.loses
    ]
    if not losing:
        return False
    loss = f"what {', '.join(losing)} holds now is lost"
    question = f"What {', '.join(losing)} holds now is lost. Go on?"
    remedy = "add --yes, or --copy-to MEMBER=FOLDER, which loses nothing"
    return offline.consent(Question(name, loss, question, remedy))


async def _do(
    offline: Offline,
    record: GroupRecord,
    wishes: Mapping[str, RestoreWish],
    decided: Mapping[str, RestoreDecision],
) -> GroupRestored:
    """Restore what was decided."""
    members: list[Member] = []
    with ExitStack() as stack:

        async def work() -> GroupRestored:
            try:
                return GroupRestored(record, await run_members(members))
            except (SnapplanError, asyncio.CancelledError) as error:
                raise await to_its_end(_given_up(record.name, members, error)) from error

        try:
            for name, decision in decided.items():
                member = _begun(offline, name, decision, wishes[name])
                member.others = _words_of_others(name, decided)
                members.append(member)
                plan = decision.plan
                own = decision.vm if plan.loses else None  # else its disks stay what they are
                stack.enter_context(reverting(own, plan.manifest.lineage))
            return await stopped_by_cancelling(offline, work())
        except BaseException:
            for member in members:
                member.record.taken_back()
            raise


def _begun(offline: Offline, name: str, decided: RestoreDecision, wish: RestoreWish) -> Member:
    """A member whose restore is recorded, and of which nothing is made yet."""
    plan, reporter = decided.plan, MemberReporter(name, telling(offline.reporter))
    for what in decided.unproved:
        reporter.note(f"not checked: {what}")
    using = evolve(offline.unlocked(plan.manifest), reporter=reporter)
    record = RestoreRecord.begin(decided.vm, plan, HostClock().now_us() * 1000)
    disks = Disks(plan, using.images, using.host, reporter)
    return Member(name, decided, disks, record, using, wish)


def _words_of_others(name: str, decided: Mapping[str, RestoreDecision]) -> tuple[str, ...]:
    return tuple(word for each, its in decided.items() if each != name for word in its.words)


async def _given_up(
    name: str, members: list[Member], error: SnapplanError | asyncio.CancelledError
) -> RunFailed:
    """Take back what the members that did not fail have made; what it amounts to."""
    for member in members:
        if member.disks.taken_back is None:
            await member.disks.take_back_for_stop()
    left = tuple(problem for member in members for problem in member.left())
    stopped = isinstance(error, asyncio.CancelledError)
    cause = Problem("interrupted", name, "stopped")
    problems: tuple[Problem, ...] = (cause,)
    words = cause.message
    if isinstance(error, SnapplanError):
        words = error.message
        cause = Problem(error.code, name, error.message)
        problems = tuple(each for each in error.problems if each not in left) or (cause,)
    message = f"group {name!r} is given up: {words}"
    if left:
        state = (
            "No QEMU of the group runs; do not start one on these disks before another restore of the "
            "group has succeeded."
        )
        return UndoIncomplete(
            message, problems=(*problems, *left), code=cause.code, vm_state=state, left=left
        )
    state = "No QEMU of the group runs; no new file is left, and no disk was reverted."
    kind = Interrupted if stopped or isinstance(error, Interrupted) else RunFailed
    return kind(message, problems=problems, code=cause.code, vm_state=state)
