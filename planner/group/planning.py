"""What a group may be: its members' plans, checked against each other, and proved to be one instant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from attrs import evolve, field, frozen

from planner.compile.graph import canonical_order
from planner.compile.plan import Plan
from planner.compile.refusals import can_be_written
from planner.errors import Problem, Refused, in_order
from planner.group.serving import (
    Servers,
    proposed,
    right_member,
    server_problems,
    server_warnings,
)
from planner.group.union import union_graph
from planner.model.facts import Facts
from planner.model.operations import Kind
from planner.model.request import RunStateAfter, ServedBy
from planner.program.gates import gates_of, stops_a_guest, waits_for_guests
from planner.run.leftovers import files_of
from planner.store.claims import ImageFile
from planner.verify.group_proof import GatedProgram, verify_group

__all__ = ["GroupPlan", "HasImages", "MemberPlan", "check_images", "in_group", "plan_group"]

_ANOTHER_TAG = (
    "choose another tag, or delete the old snapshot first (`snapplan delete`, and where it is a group's "
    "`snapplan group delete`)"
)


@frozen
class MemberPlan:
    """One member, planned.

    Attributes:
        name: What the group calls it.
        address: Where its VM is.
        plan: What is run.
        facts: The VM as it was planned for.
        images: Those that its guest writes to.
        below: Files under these.
        servers: Who serves its disks that another process serves, as far as that is seen.
    """

    name: str
    address: str
    plan: Plan
    facts: Facts
    images: tuple[ImageFile, ...] = ()
    below: frozenset[str] = frozenset()
    servers: Servers = field(factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader should know although it stops nothing."""
        served = (
            warning
            for disk, wish in self.plan.request.disks
            if isinstance(wish, ServedBy)
            for warning in server_warnings(disk, wish.member, self.servers)
        )
        return (*self.plan.program.resolution.warnings, *served)


@frozen
class GroupPlan:
    """A group that is proved to be one instant.

    Attributes:
        name: Its name.
        members: In order of name.
        pause_budget_ms: How long the guests may stand still; None: as long as it takes.
    """

    name: str
    members: tuple[MemberPlan, ...]
    pause_budget_ms: float | None = None


def plan_group(
    name: str, members: Sequence[MemberPlan], pause_budget_ms: float | None = None
) -> GroupPlan:
    """Check members against each other, and prove that their snapshots are one instant.

    Raises:
        Refused: With a problem for each reason, named after its member; nothing was sent.
        Violation: The gates do not make it one instant: a mistake in a design.
        InternalError: The rules contradict each other over the members together.
    """
    ordered = tuple(sorted(members, key=lambda each: each.name))
    problems = [problem for member in ordered for problem in _alone(member)]
    problems += [*check_images(ordered), *_files(ordered), *served_problems(ordered)]
    problems += _nobody_stands(ordered)
    if problems:
        raise Refused(
            f"group {name!r} cannot be one instant, or not safely",
            problems=in_order(problems),
            code="group-refused",
        )
    canonical_order(
        union_graph({each.name: each.plan.program.resolution for each in ordered})
    )  # raises on a cycle
    verify_group(
        {
            each.name: GatedProgram(each.plan.program, gates_of(each.plan.program))
            for each in ordered
        }
    )
    return GroupPlan(name, ordered, pause_budget_ms)


def in_group(problem: Problem, servers: Servers) -> Problem:
    """A problem of a member's request as it is in a group: nothing is replaced, and members serve."""
    if problem.code == "tag-taken":
        return evolve(problem, remedy=_ANOTHER_TAG)
    return proposed(problem, servers)


def _alone(member: MemberPlan) -> Iterator[Problem]:
    """What keeps one member out of any group."""
    program = member.plan.program
    resolution = program.resolution
    running = resolution.run_state_before is RunStateAfter.RUNNING
    if running and not resolution.pauses and not member.plan.is_daemon:
        yield Problem(
            "group-without-pause",
            member.name,
            "its guest is not stopped (disks alone), so that its instant cannot be that of the others",
            "write `pause: always` in its request, or ask for its machine state too",
        )
    if any(_pauses_and_resumes(step.covers) for step in program.steps):
        yield Problem(
            "group-monolithic",
            member.name,
            f"design {program.design} stops the guest and lets it go on in one job: it cannot wait",
            "leave the design out, or take `transactional`",
        )
    if resolution.replaced:
        yield Problem(
            "group-replaces",
            member.name,
            "its request replaces a snapshot, which is gone when another member fails",
            f"{_ANOTHER_TAG}, and leave `existing-tag` out",
        )


def _nobody_stands(members: Sequence[MemberPlan]) -> Iterator[Problem]:
    """Daemons whose clients nobody stops: each would be of an instant of its own."""
    if any(stops_a_guest(member.plan.program) for member in members):
        return
    for member in members:
        if waits_for_guests(member.plan.program):
            yield Problem(
                "group-without-pause",
                member.name,
                "no member has a guest that is stopped, so nothing makes this storage daemon's instant "
                "that of the others",
                "name the VM that uses its disks as a member, with its machine state",
            )


def served_problems(members: Sequence[MemberPlan]) -> Iterator[Problem]:
    """Disks that another member is said to serve, and does not, or does not save."""
    by_name = {member.name: member for member in members}
    for member in members:
        for disk, wish in member.plan.request.disks:
            if isinstance(wish, ServedBy):
                yield from _served(member, disk, wish.member, by_name.get(wish.member))


def _served(
    member: MemberPlan, disk: str, name: str, daemon: MemberPlan | None
) -> Iterator[Problem]:
    subject = f"{member.name}: {disk}"
    if daemon is None or not daemon.plan.is_daemon:
        what = "no member is called so" if daemon is None else "that member is no storage daemon"
        yield Problem(
            "served-by-nobody",
            subject,
            f"it is to be served by {name!r}, and {what}",
            right_member(disk, member.servers)
            or "name the storage daemon as a member, or say `exclude`",
        )
        return
    yield from server_problems(subject, disk, name, member.servers)
    left_out = [disk.name for disk in daemon.facts.disks if can_be_written(disk)]
    left_out = [each for each in left_out if each in daemon.plan.program.resolution.excluded]
    if left_out:
        yield Problem(
            "served-in-part",
            subject,
            f"{name!r} leaves out {', '.join(left_out)}, and a daemon does not say which of its disks "
            "this one is (fact 121)",
            f"save all disks that {name!r} exports",
        )


def _pauses_and_resumes(operations: Sequence[object]) -> bool:
    kinds = {getattr(operation, "kind", None) for operation in operations}
    return {Kind.PAUSE_GUEST, Kind.RESUME_GUEST} <= kinds


class HasImages(Protocol):
    """A member, as far as its images go: a plan of it, or a VM that was met."""

    @property
    def name(self) -> str:
        """What the group calls it."""
        ...

    @property
    def address(self) -> str:
        """Where its VM is."""
        ...

    @property
    def images(self) -> tuple[ImageFile, ...]:
        """Those that its guest writes to."""
        ...

    @property
    def below(self) -> frozenset[str]:
        """Files under these."""
        ...


def check_images(members: Sequence[HasImages]) -> Iterator[Problem]:
    """Images that one member's guest writes to, and another one has: one of the two has no instant."""
    for number, one in enumerate(members):
        for other in members[number + 1 :]:
            for image in _shared(one, other):
                yield Problem(
                    "group-image-shared",
                    f"{one.name}, {other.name}",
                    f"both have {image} open, and a guest writes to it",
                    "leave one of the two out of the group",
                )


def _shared(one: HasImages, other: HasImages) -> Iterator[str]:
    if _host(one.address) != _host(other.address):
        return  # paths of two machines
    for mine in one.images:
        if any(mine.is_same(its) for its in other.images) or mine.path in other.below:
            yield mine.path
    for its in other.images:
        if its.path in one.below:
            yield its.path


def _host(address: str) -> str:
    """The machine that an address is on; empty: this one."""
    return "" if address.startswith("/") else address.rpartition(":")[0]


def _files(members: Sequence[MemberPlan]) -> Iterator[Problem]:
    """Files that two members would make."""
    makers: dict[str, str] = {}
    for member in members:
        for path in files_of(member.plan.program):
            first = makers.setdefault(path, member.name)
            if first != member.name and not path.rpartition("/")[2].startswith("."):
                words = f"members {first!r} and {member.name!r} would both make it"
                yield Problem("path-used-twice", path, words, "give each its own file")
