"""What is recorded of groups: listed, and put in order after a crash; each member by its own verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from planner.errors import BadInput, Problem, SnapplanError
from planner.group.ending import of_member
from planner.group.record import GroupMember, GroupRecord, KnownGroup
from planner.group.records import GroupStore
from planner.parts.manifest import Manifest
from planner.recover.group_ending import pending_members
from planner.recover.recovery import Recovered
from planner.store.store import Store, VmStore

__all__ = ["KnownGroup", "find_group", "list_groups", "manifest_of", "recover_group"]


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
        remedy = f"known: {known}" if known else "the store has no group"
        problem = Problem("group-unknown", name, "no group is called so", remedy)
        raise BadInput(problem.words, problems=(problem,), code=problem.code)
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
                done += await recover_one(member)
            except SnapplanError as error:
                error.problems = tuple(of_member(member.name, each) for each in error.problems)
                error.message = f"{member.name}: {error.message}"
                failed.append(error)
        if failed:
            raise failed[0]
        if not record.committed and not pending_members(groups, record):
            groups.remove(name)
        return done
