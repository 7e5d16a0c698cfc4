"""Explores every run of a group: every order of its members, every message, one fault, every death.

What is explored is what is new in a group; each member's own program is explored alone
(`planner.explore.search`).  So a member is the list of what it does and of the gates that it waits at, a
guest is what it has sent and received, and an undo is one move.  A message that is under way is the
guests' move: any guest that runs may send, and any that runs may receive what was sent to it.  A storage
daemon sends nothing; what is sent to it is a write, which it has at once: QEMU completes what is under
way when it stops a guest.  snapplan may be killed at any place; then `recover` ends the members one by
one, in any order, or never comes.

Rules: `PROPERTIES` says what must hold.  All is asked of every end; that nobody is shown as recorded
before all are whole, of every state, since `recover` may never come.  Breadth first, so that the first
run that breaks a property is a shortest one.  Pure and deterministic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from attrs import define, evolve, field, frozen

from planner.explore.group_items import Item, items_of
from planner.model.operations import Kind
from planner.model.request import RunStateAfter
from planner.program.gates import Gate
from planner.program.program import Program

__all__ = [
    "PROPERTIES",
    "GroupExploration",
    "GroupReport",
    "GroupSearch",
    "explore_group",
]

PROPERTIES: Mapping[str, str] = MappingProxyType(
    {
        "one-instant-of-the-group": "no member's snapshot has received what another's has not "
        "sent, and a daemon's disks hold every write that a guest's memory knows of",
        "all-or-none": "every member has its snapshot and its record, or none has either",
        "guests-as-before": "in the end every guest runs that ran before",
    }
)
"""What must hold, each with what it means."""

_TICK = 4096
Guest = tuple[tuple[int, ...], tuple[int, ...]]
"""What a guest has sent to each member, and received from each."""


@frozen
class GroupExploration:
    """What is explored.

    Attributes:
        programs: Of each member, by its name.
        messages: How many messages there are at the most, of all guests together.
        faults: How many steps may fail.
        gates: The gates that members wait at; others are passed at once, for a mutant.
    """

    programs: Mapping[str, Program]
    messages: int = 2
    faults: int = 1
    gates: frozenset[Gate] = frozenset(Gate)


@frozen
class GroupReport:
    """What became of it.

    Attributes:
        states: How many different states there are.
        transitions: How many moves were made.
        ends: How many ends of each kind.
        violations: For each property that a run violates, a shortest such run, in words.
        finished: Whether every run was followed to its end.
    """

    states: int
    transitions: int
    ends: Mapping[str, int]
    violations: Mapping[str, tuple[str, ...]] = field(factory=dict)
    finished: bool = True


@frozen
class _Member:
    """A member in a state.

    Attributes:
        place: How much of its list is done.
        running: Whether its guest runs.
        guest: What that has sent and received.
        saved: The same as its snapshot holds it; None: there is none.
        end: ``recorded`` or ``undone``; empty: it is at work.
    """

    place: int
    running: bool
    guest: Guest
    saved: Guest | None = None
    end: str = ""


@frozen
class _State:
    """Everything: the members, and what the process that runs them knows."""

    members: tuple[_Member, ...]
    faults: int = 0
    given_up: bool = False
    committed: bool = False
    dead: bool = False


@frozen
class _Group:
    """The group, as moves need it."""

    setting: GroupExploration
    names: tuple[str, ...]
    lists: tuple[tuple[Item, ...], ...]
    ran: tuple[bool, ...] = field()

    @classmethod
    def of(cls, setting: GroupExploration) -> _Group:
        names = tuple(sorted(setting.programs))
        programs = [setting.programs[name] for name in names]
        before = (each.resolution.run_state_before for each in programs)
        ran = tuple(state is RunStateAfter.RUNNING for state in before)
        return cls(setting, names, tuple(tuple(items_of(each)) for each in programs), ran)

    def start(self) -> _State:
        none = (0,) * len(self.names)
        return _State(tuple(_Member(0, ran, (none, none)) for ran in self.ran))

    # --- moves ------------------------------------------------------------------------------------

    def moves(self, state: _State) -> Iterator[tuple[str, _State]]:
        """What can happen next, each in words."""
        yield from self._messages(state)
        if state.dead:
            yield from self._recoveries(state)
            return
        if any(not each.end for each in state.members):
            yield "snapplan is killed", evolve(state, dead=True)
        for number, member in enumerate(state.members):
            if not member.end:
                yield from self._goes_on(state, number, member)

    def _messages(self, state: _State) -> Iterator[tuple[str, _State]]:
        sent_in_all = sum(sum(each.guest[0]) for each in state.members)
        for a, sender in enumerate(state.members):
            for b, receiver in enumerate(state.members):
                if a == b:
                    continue
                if sender.running and not self._serves(a) and sent_in_all < self.setting.messages:
                    yield self._sends(state, a, b)
                if receiver.running and sender.guest[0][b] > receiver.guest[1][a]:
                    guest = (receiver.guest[0], _more(receiver.guest[1], a))
                    words = f"{self.names[b]} receives from {self.names[a]}"
                    yield words, _with(state, b, evolve(receiver, guest=guest))

    def _serves(self, number: int) -> bool:
        return Gate.STANDING in self.lists[number]

    def _sends(self, state: _State, a: int, b: int) -> tuple[str, _State]:
        """A message, or a write that is done when it is sent."""
        sender, receiver = state.members[a], state.members[b]
        sent = evolve(sender, guest=(_more(sender.guest[0], b), sender.guest[1]))
        after = _with(state, a, sent)
        if not self._serves(b):
            return f"{self.names[a]} sends to {self.names[b]}", after
        guest = (receiver.guest[0], _more(receiver.guest[1], a))
        return (
            f"{self.names[a]} writes to a disk of {self.names[b]}",
            _with(after, b, evolve(receiver, guest=guest)),
        )

    def _goes_on(self, state: _State, number: int, member: _Member) -> Iterator[tuple[str, _State]]:
        name = self.names[number]
        if state.given_up:
            yield f"{name} is undone", self._undone(state, number)
            return
        if member.place == len(self.lists[number]):
            yield f"{name} is recorded", _with(state, number, evolve(member, end="recorded"))
            return
        item = self.lists[number][member.place]
        after = _with(state, number, evolve(member, place=member.place + 1))
        if isinstance(item, Gate):
            yield from self._at_gate(state, item, name, after)
            return
        yield f"{name}: {item.value}", _with(after, number, _done(after.members[number], item))
        if state.faults < self.setting.faults:
            words = f"{name}: {item.value} fails"
            yield words, evolve(state, faults=state.faults + 1, given_up=True)

    def _at_gate(
        self, state: _State, gate: Gate, name: str, after: _State
    ) -> Iterator[tuple[str, _State]]:
        """A gate opens when every member is at it, or past it."""
        waits = gate in self.setting.gates and gate is not Gate.PAUSED
        if waits and not all(self._is_at(state, n, gate) for n in range(len(self.names))):
            return
        decided = state.committed or gate is Gate.COMMIT
        yield f"{name} passes the gate {gate.value!r}", evolve(after, committed=decided)

    def _is_at(self, state: _State, number: int, gate: Gate) -> bool:
        if gate is Gate.STANDING:  # of those whose guest is stopped, behind the news that it stands
            told = [at for at, item in enumerate(self.lists[number]) if item is Gate.PAUSED]
            return all(state.members[number].place > at for at in told)
        return state.members[number].place >= self.lists[number].index(gate)

    def _recoveries(self, state: _State) -> Iterator[tuple[str, _State]]:
        """By the record: who had come to the last gate is recorded, where the group has decided."""
        for number, member in enumerate(state.members):
            if member.end:
                continue
            name = self.names[number]
            if state.committed and self._is_at(state, number, Gate.COMMIT):
                recorded = evolve(member, end="recorded")
                yield f"recover records {name}", _with(state, number, recorded)
            else:
                yield f"recover undoes {name}", self._undone(state, number)

    def _undone(self, state: _State, number: int) -> _State:
        member = state.members[number]
        back = evolve(member, saved=None, running=self.ran[number], end="undone")
        return _with(state, number, back)

    # --- properties -------------------------------------------------------------------------------

    def violated(self, state: _State) -> Iterator[str]:
        """The properties that a state violates."""
        members = state.members
        recorded = [each.end == "recorded" for each in members]
        whole = state.committed and all(each.saved is not None for each in members)
        ended = all(each.end for each in members)
        differs = ended and [each.saved is not None for each in members] != recorded
        if differs or (any(recorded) and not whole):
            yield "all-or-none"
        if not ended:
            return
        if any(ran and not each.running for ran, each in zip(self.ran, members, strict=True)):
            yield "guests-as-before"
        if self._is_torn([each.saved for each in members]):
            yield "one-instant-of-the-group"

    def _is_torn(self, saved: list[Guest | None]) -> bool:
        return any(
            one is not None and other is not None and self._are_torn((a, one), (b, other))
            for a, one in enumerate(saved)
            for b, other in enumerate(saved)
        )

    def _are_torn(self, one: tuple[int, Guest], other: tuple[int, Guest]) -> bool:
        """Received, and never sent; or written by a guest, and not on the daemon's disk."""
        (a, sender), (b, receiver) = one, other
        sent, received = sender[0][b], receiver[1][a]
        return received > sent or (self._serves(b) and received < sent)


@define
class GroupSearch:
    """A search through every run.

    Attributes:
        setting: What is explored.
    """

    setting: GroupExploration
    _group: _Group = field(init=False)
    _ways: dict[_State, tuple[_State | None, str]] = field(init=False)
    _waiting: deque[_State] = field(init=False)
    _ends: dict[str, int] = field(init=False, factory=dict)
    _violations: dict[str, tuple[str, ...]] = field(init=False, factory=dict)
    _transitions: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._group = _Group.of(self.setting)
        start = self._group.start()
        self._ways = {start: (None, "")}
        self._waiting = deque([start])

    def run(self) -> Iterator[tuple[int, int]]:
        """Search; now and then how many states are known, and how many of these wait."""
        while self._waiting:
            state = self._waiting.popleft()
            for broken in self._group.violated(state):
                self._violations.setdefault(broken, _story(self._ways, state))
            if all(each.end for each in state.members):
                kind = "recorded" if state.members[0].end == "recorded" else "undone"
                self._ends[kind] = self._ends.get(kind, 0) + 1
                continue
            for words, after in self._group.moves(state):
                self._transitions += 1
                if after not in self._ways:
                    self._ways[after] = (state, words)
                    self._waiting.append(after)
                    if len(self._ways) % _TICK == 0:
                        yield len(self._ways), len(self._waiting)

    def report(self) -> GroupReport:
        """What is known so far."""
        known, finished = len(self._ways), not self._waiting
        return GroupReport(known, self._transitions, self._ends, self._violations, finished)


def explore_group(setting: GroupExploration) -> GroupReport:
    """Explore every run to its end."""
    search = GroupSearch(setting)
    for _ in search.run():
        pass
    return search.report()


def _story(ways: Mapping[_State, tuple[_State | None, str]], end: _State) -> tuple[str, ...]:
    told: list[str] = []
    before, words = ways[end]
    while before is not None:
        told.append(words)
        before, words = ways[before]
    return tuple(reversed(told))


def _done(member: _Member, kind: Kind) -> _Member:
    """A member after it has done something."""
    if kind is Kind.PAUSE_GUEST:
        return evolve(member, running=False)
    if kind is Kind.RESUME_GUEST:
        return evolve(member, running=True)
    return evolve(member, saved=member.guest)


def _more(counts: tuple[int, ...], place: int) -> tuple[int, ...]:
    return (*counts[:place], counts[place] + 1, *counts[place + 1 :])


def _with(state: _State, number: int, member: _Member) -> _State:
    members = (*state.members[:number], member, *state.members[number + 1 :])
    return evolve(state, members=members)
