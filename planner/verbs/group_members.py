"""What every verb on a group needs of its members: their names in what is said, and their locks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager

from attrs import define, evolve, field, frozen

from planner.errors import BadInput, Problem, Refused, SnapplanError
from planner.group.ending import of_member
from planner.group.planning import check_images
from planner.run.ports import Reporter
from planner.run.progress import Amount
from planner.run.reporting import telling
from planner.store.claims import ImageFile
from planner.store.held import Held, met_and_locked
from planner.store.journaled import check_nothing_pending
from planner.store.meeting import Met, meet
from planner.store.store import Store
from planner.verbs.context import Context

__all__ = [
    "MemberReporter",
    "Refusals",
    "by_member",
    "hold_all",
    "meet_all",
    "one_store",
    "telling_member",
]


@contextmanager
def by_member(name: str) -> Iterator[None]:
    """Put a member's name before whatever is raised about it."""
    try:
        yield
    except SnapplanError as error:
        error.message = f"{name}: {error.message}"
        error.problems = tuple(of_member(name, problem) for problem in error.problems)
        raise


@define
class Refusals:
    """What speaks against the members of a group: told of all of them at once, each with its way out.

    Attributes:
        group: The group's name.
    """

    group: str
    _raised: list[Refused | BadInput] = field(init=False, factory=list)

    @contextmanager
    def of(self, member: str) -> Iterator[None]:
        """Keep what is raised about a member, with its name, and go on with the others."""
        try:
            with by_member(member):
                yield
        except (Refused, BadInput) as error:
            self._raised.append(error)

    def raise_all(self) -> None:
        """Raise what was kept: one member's as it is, several members' as one error.

        Raises:
            BadInput, Refused: With every problem of every member; nothing was sent.
        """
        if len(self._raised) == 1:
            raise self._raised[0]
        if not self._raised:
            return
        problems = tuple(problem for each in self._raised for problem in each.as_problems())
        codes = {each.code for each in self._raised}
        message = (
            f"{len(self._raised)} members of group {self.group!r} cannot be as they are asked for"
        )
        code = next(iter(codes)) if len(codes) == 1 else "group-refused"
        refused = [each for each in self._raised if isinstance(each, Refused)]
        if len(refused) == len(self._raised):
            raise Refused(message, problems=problems, code=code)
        bad = next(each for each in self._raised if isinstance(each, BadInput))
        raise BadInput(message, problems=problems, code=bad.code)


def one_store(members: Mapping[str, Context]) -> Store:
    """The store that all members have.

    Raises:
        BadInput: They have several (``group-stores``): nothing would tie their records together.
    """
    stores = {each.store for each in members.values()}
    if len(stores) != 1:
        problem = Problem("group-stores", "", "the members of a group must have one store")
        raise BadInput.of(problem)
    return next(iter(stores))


async def meet_all(members: Mapping[str, Context]) -> dict[str, Met]:
    """Ask every member what it is.

    Raises:
        CannotConnect: One does not answer.
        Refused: One QEMU is two members (``group-vm-twice``): it cannot wait for itself; or two have an
            image that one of them writes to (``group-image-shared``).
    """
    met = {}
    for name, context in members.items():
        with by_member(name):
            met[name] = await meet(context.backend, context.store, context.address)
    _check_apart(met)
    return met


def _check_apart(met: Mapping[str, Met]) -> None:
    seen: dict[str, str] = {}
    problems = []
    for name, found in sorted(met.items()):
        locks = found.lock_names or (f"address:{found.identity.address}",)
        first = next((seen[lock] for lock in locks if lock in seen), None)
        seen.update(dict.fromkeys(locks, name))
        if first is not None:
            words = f"it is the same VM as member {first!r}"
            problems.append(Problem("group-vm-twice", name, words, "name each VM once"))
    if problems:
        raise Refused("a VM is in the group twice", problems=tuple(problems), code="group-refused")
    # Before any lock: two VMs of one image have one share of the store, and the second would be locked.
    shared = tuple(check_images([_Seen.of(name, each) for name, each in sorted(met.items())]))
    if shared:
        raise Refused("members share an image", problems=shared, code="group-refused")


@frozen
class _Seen:
    """A member's images, as it was met."""

    name: str
    address: str
    images: tuple[ImageFile, ...]
    below: frozenset[str]

    @classmethod
    def of(cls, name: str, met: Met) -> _Seen:
        its = met.identity
        return cls(name, its.address, its.images, its.below)


async def hold_all(members: Mapping[str, Context], stack: AsyncExitStack) -> dict[str, Held]:
    """Hold the locks of every member, until the stack is closed.

    Raises:
        CannotConnect: One does not answer.
        Refused: Another snapplan is at work on one (``vm-locked``), a run of one has not ended
            (``recovery-pending``), or one is two members (``group-vm-twice``).
    """
    await meet_all(members)
    held = {}
    for name in sorted(members):
        context = members[name]
        with by_member(name):
            locked = met_and_locked(context.backend, context.store, context.address)
            held[name] = await stack.enter_async_context(locked)
            check_nothing_pending(held[name].vm)
    return held


def telling_member(name: str, context: Context) -> Context:
    """A member's context, whose reporter is told of whom it is."""
    return evolve(context, reporter=MemberReporter(name, telling(context.reporter)))


@frozen
class MemberReporter:
    """Says whose step it is; bytes of several members at once would say nothing."""

    name: str
    reporter: Reporter

    def step(self, number: int, count: int, what: str) -> None:
        """Pass it on, the member's name before it."""
        self.reporter.step(number, count, f"{self.name}: {what}")

    def note(self, text: str) -> None:
        """Pass it on, the member's name before it."""
        self.reporter.note(f"{self.name}: {text}")

    def amount(self, amount: Amount) -> None:
        """Say nothing of it."""
        del amount
