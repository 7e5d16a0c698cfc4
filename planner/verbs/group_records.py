"""What is recorded of groups: listed, and put in order after a crash; each member by its own verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from planner.errors import BadInput, Problem, Refused, SnapplanError
from planner.group.record import GroupMember, GroupRecord, KnownGroup
from planner.group.records import GroupStore
from planner.parts.manifest import Manifest
from planner.present.group_view import GroupVerdict
from planner.present.verdict_view import Verdict
from planner.recover.group_ending import pending_members
from planner.recover.recovery import Recovered
from planner.store.store import Store, VmStore
from planner.verbs.context import Consent, Question
from planner.verbs.delete import Deleted
from planner.verbs.group_members import by_member

__all__ = [
    "check_free",
    "check_whole",
    "delete_group",
    "find_group",
    "list_groups",
    "manifest_of",
    "pending_problem",
    "recover_group",
    "verify_group",
]


def list_groups(store: Store) -> tuple[tuple[KnownGroup, ...], tuple[Problem, ...]]:
    """Every group of a store, and a problem for each file that is no record of one.

    Raises:
        BadInput: The store cannot be read.
    """
    groups = GroupStore.of(store)
    records, problems = groups.known()
    return tuple(_known(groups, store, record) for record in records), problems


def find_group(store: Store, name: str) -> KnownGroup:
    """A group by its name.

    Raises:
        BadInput: There is none (``group-unknown``), or its record cannot be read.
    """
    groups = GroupStore.of(store)
    record = groups.find(name)
    if record is None:
        known = ", ".join(each.name for each in groups.known()[0])
        remedy = f"choose one of: {known}" if known else "the store has no group"
        problem = Problem("group-unknown", name, "no group is called so", remedy)
        raise BadInput.of(problem)
    return _known(groups, store, record)


def _known(groups: GroupStore, store: Store, record: GroupRecord) -> KnownGroup:
    missing = [
        member.name for member in record.members if manifest_of(store, record, member) is None
    ]
    return KnownGroup(record, pending_members(groups, record), tuple(missing))


def manifest_of(store: Store, record: GroupRecord, member: GroupMember) -> Manifest | None:
    """The snapshot of a member; None: it is not recorded, or the tag's is another one now."""
    try:
        found = VmStore(store.root / member.vm_key, store.view).manifest(member.tag)
    except SnapplanError:
        return None
    if found is None or found.group is None:
        return None
    same = (found.group.group, found.group.run) == (record.name, record.run)
    return found if same else None


async def verify_group(
    store: Store, name: str, verify_one: Callable[[GroupMember], Awaitable[Verdict]]
) -> GroupVerdict:
    """Compare the snapshot of every member with its record; changes nothing.

    Args:
        store: Where it is recorded.
        name: The group's name.
        verify_one: Verifies one member, by the verb of its own.

    Raises:
        BadInput: There is no such group.
        CannotConnect: A VM does not answer.
    """
    known = find_group(store, name)
    verdicts = {}
    for member in known.record.members:
        if member.name not in known.missing:
            with by_member(member.name):
                verdicts[member.name] = await verify_one(member)
    return GroupVerdict(known, verdicts)


async def delete_group(
    store: Store,
    name: str,
    check_one: Callable[[GroupMember], Awaitable[None]],
    delete_one: Callable[[GroupMember], Awaitable[Deleted]],
    consent: Consent,
) -> KnownGroup:
    """Delete the snapshot of every member, and the group's record last.

    All are looked at first, so that a reason against one keeps all.  A delete that was interrupted is
    finished by another one: members that are gone are passed over.

    Args:
        store: Where it is recorded.
        name: The group's name.
        check_one: Looks whether one member's snapshot could be deleted.
        delete_one: Deletes one member's snapshot, by the verb of its own.
        consent: Who is asked first, once for all.

    Returns:
        The group as it was.

    Raises:
        BadInput: There is no such group, or nobody could be asked.
        Refused: A member's snapshot cannot be deleted, or a run of the group did not end; nothing was
            deleted.
        RunFailed: One could not be deleted whole; those before it in order of name are deleted.
    """
    groups = GroupStore.of(store)
    with groups.locked(name):
        known = find_group(store, name)
        if known.standing == "pending":
            problem = pending_problem(name)
            raise Refused.of(problem)
        there = [each for each in known.record.members if each.name not in known.missing]
        names = ", ".join(f"{each.tag!r} of {each.name}" for each in there) or "no snapshot"
        loss = f"this would delete {names}"
        for member in there:
            with by_member(member.name):
                await check_one(member)
        consent(Question(name, loss, f"Delete group {name!r}: {names}?", "add --yes"))
        for member in there:
            with by_member(member.name):
                (await delete_one(member)).outcome.raise_failure()
        groups.remove(name)
        return known


def check_free(groups: GroupStore, name: str) -> None:
    """Refuse the name of a group that is there, or whose run has not ended."""
    found = groups.find(name)
    if found is None:
        return
    problem = Problem(
        "group-taken", name, "a group of this name is there", "delete it, or take another name"
    )
    if not found.committed:
        problem = pending_problem(name)
    raise Refused.of(problem)


def check_whole(known: KnownGroup) -> None:
    """Refuse a group whose run has not ended, or that has lost a member's snapshot.

    Raises:
        Refused: With what to do (``recovery-pending``, ``group-incomplete``).
    """
    name = known.record.name
    if known.standing == "pending":
        raise Refused.of(pending_problem(name))
    if known.missing:
        words = f"the snapshot of {', '.join(known.missing)} is not recorded (any more)"
        remedy = (
            "load what is left with `snapplan load --alone`, if it is of use without the others"
        )
        raise Refused.of(Problem("group-incomplete", name, words, remedy))


def pending_problem(name: str) -> Problem:
    """A run of a group that did not end."""
    words = "an earlier run of this group did not end"
    return Problem("recovery-pending", name, words, f"run `snapplan group recover {name}`")


async def recover_group(
    store: Store, name: str, recover_one: Callable[[GroupMember], Awaitable[list[Recovered]]]
) -> list[Recovered]:
    """Finish or undo what an interrupted run of a group left, in all members alike.

    Args:
        store: Where it is recorded.
        name: The group's name.
        recover_one: Recovers the VM of one member, by the verb of its own.

    Returns:
        What became of each run that was pending.

    Raises:
        BadInput: There is no such group.
        Refused: Another snapplan is at work on the group.
        SnapplanError: What the first member that failed raised, once all were tried.
    """
    groups = GroupStore.of(store)
    with groups.locked(name):
        record = find_group(store, name).record
        done: list[Recovered] = []
        failed: list[SnapplanError] = []
        waiting = pending_members(groups, record)
        for member in (each for each in record.members if each.name in waiting):
            try:
                with by_member(member.name):
                    done += await recover_one(member)
            except SnapplanError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        if not record.committed and not pending_members(groups, record):
            groups.remove(name)
        return done
