"""A simulated VM without sockets: commands in, messages out, faults between.

Theory: the semantics decide what happens; this class adds what they leave open: where the reply
stands among the events (fact 4), how far a migration gets between two commands, when the guest
works.  All of that is drawn from one generator, so a seed replays a run.  Time is virtual: it moves
by a fixed amount with every command.

Rules: one VM, one owner; not thread-safe.  The guest works before every command that is not a
query, as queries take nothing from it; so replies to queries stay cached.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from attrs import evolve, frozen

from backends.simulator.faults import Fault, FaultRule, FaultSet
from planner.semantics import (
    CommandResult,
    InjectedFailure,
    QmpError,
    QmpEvent,
    StepEffect,
    VmState,
    advance,
    advance_background,
    execute,
    guest_step,
    modelled_commands,
    next_in_background,
    start,
)

__all__ = ["CommandFailed", "Delivery", "SimulatedVm", "VmUnreachable"]

Message = dict[str, object]

COMMAND_NS = 1_000_000
_STAMP_NS = 1000
_DISKS_A_STEP = 2
_NO_LIMIT_BELOW = 10  # QEMU divides it into ten slices a second (fact 53)
_LEAST_BANDWIDTH = 2**20
_AFTER_THE_MEMORY = frozenset({"migration-stop", "background-complete"})
_ENDING = frozenset({"waiting", "aborting"})


class CommandFailed(Exception):
    """The VM answered with an error."""

    def __init__(self, error: QmpError) -> None:
        super().__init__(error.desc)
        self.error = error


class VmUnreachable(Exception):
    """No answer came: what became of the command cannot be known from here."""


@frozen
class Delivery:
    """What goes back to the client that sent a command.

    Attributes:
        before: Events before the reply.
        reply: ``return`` or ``error`` as a mapping; None for no reply.
        after: Events after the reply.
        shared: Whether the reply is one that many commands share, worth keeping encoded.
        drop: Whether the connection is cut, after these messages.
        delay_s: How long to wait before the reply.
        raw: Bytes to send in the place of the reply.
    """

    before: tuple[Message, ...] = ()
    reply: Message | None = None
    after: tuple[Message, ...] = ()
    shared: bool = False
    drop: bool = False
    delay_s: float = 0.0
    raw: bytes = b""


class SimulatedVm:
    """One simulated QEMU.

    Attributes:
        state: What it is now; may be replaced between commands.
        events: Events that `execute` and `idle` have caused, oldest first; take from the left.
    """

    def __init__(
        self,
        state: VmState,
        *,
        faults: Iterable[FaultRule] = (),
        seed: int = 0,
        guest: bool = True,
        modelled_only: bool = False,
    ) -> None:
        self.state = state
        self._modelled_only = modelled_only
        self.events: deque[Message] = deque()
        self._faults = FaultSet(tuple(faults))
        self._random = random.Random(seed)  # noqa: S311 - a replayable simulation, no secret
        self._guest = guest
        self._now_ns = state.host_ns
        self._stalled_until_ns: int | None = None
        self._held: list[Message] = []

    def note_descriptor(self, name: str, *, socket: bool) -> None:
        """Note what a descriptor is of that comes with the next command."""
        others = self.state.sockets - {name}
        self.state = evolve(self.state, sockets=others | {name} if socket else others)

    @property
    def dead(self) -> bool:
        """Whether QEMU is gone."""
        return bool(self.state.died)

    @property
    def busy(self) -> bool:
        """Whether a migration or a block job goes on by itself when nobody sends anything."""
        return _goes_on(self.state)

    # --- in process --------------------------------------------------------------------

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Run one command and return what is in its ``return``; events go to `events`.

        Raises:
            CommandFailed: It was refused.
            VmUnreachable: No (usable) answer came: a fault, or QEMU is dead.
        """
        delivery = self.handle(command, arguments)
        self.events.extend((*delivery.before, *delivery.after))
        if delivery.raw or delivery.drop or delivery.reply is None:
            raise VmUnreachable(f"no answer to {command}")
        if "error" in delivery.reply:
            error = delivery.reply["error"]
            if isinstance(error, dict):
                raise CommandFailed(QmpError(str(error["class"]), str(error["desc"])))
        return delivery.reply["return"]

    def idle(self) -> None:
        """Let everything happen that happens by itself while nobody sends anything."""
        while self.busy:
            self.events.extend(self.background_step())
        self.events.extend(self.release())

    # --- for a server --------------------------------------------------------------------

    def handle(self, command: str, arguments: Mapping[str, object] | None = None) -> Delivery:
        """Run one command; say what goes back, and how.  A dead VM says nothing."""
        if self.dead:
            return Delivery(drop=True)
        self._now_ns += COMMAND_NS
        rule = self._faults.at_command(command)
        early = self._before_effect(rule)
        if early is not None:
            return early
        query = command.startswith("query-")
        if not query:
            self._let_time_pass()
        if command == "query-commands" and self._modelled_only and not arguments:
            names = [{"name": name} for name in modelled_commands(self.state)]
            return self._after_effect(rule, Delivery(reply={"return": names}))
        delivery = self._run(command, arguments, shared=query)
        if self.busy and not delivery.drop:
            delivery = evolve(delivery, after=(*delivery.after, *self._some_background()))
        return self._after_effect(rule, delivery)

    def background_step(self) -> tuple[Message, ...]:
        """One micro-step of the block job or the migration under way, and its events."""
        step = next_in_background(self.state)
        if step is None or not self.busy:
            return ()
        rule = self._faults.at_step(step)
        if rule is not None and rule.fault is Fault.DIE:
            self.state = evolve(self.state, died=f"fault: die at {step}")
            return ()
        before = (
            self._foreign(rule) if rule is not None and rule.fault is Fault.FOREIGN_COMMAND else ()
        )
        if not _goes_on(self.state):
            return before
        done = advance_background(self.state, _failure(rule))
        self.state = done.state
        return (*before, *self._events(done.events))

    def release(self, *, force: bool = False) -> tuple[Message, ...]:
        """Events that a stall has held back, once it is over."""
        if self._stalled_until_ns is None:
            return ()
        if not force and self._now_ns < self._stalled_until_ns:
            return ()
        self._stalled_until_ns = None
        held, self._held = tuple(self._held), []
        return held

    # --- faults ----------------------------------------------------------------------------

    def _before_effect(self, rule: FaultRule | None) -> Delivery | None:
        if rule is None:
            return None
        if rule.fault is Fault.ERROR_REPLY:
            return Delivery(reply={"error": QmpError(rule.error_class, rule.error).message()})
        if rule.fault is Fault.DROP_BEFORE:
            return Delivery(drop=True)
        if rule.fault is Fault.DIE:
            self.state = evolve(self.state, died="fault: die")
            return Delivery(drop=True)
        if rule.fault is Fault.STALL:
            wait_ns = int(rule.delay_s * 10**9) if rule.delay_s else 2**62
            self._stalled_until_ns = self._now_ns + wait_ns
        return None

    def _after_effect(self, rule: FaultRule | None, delivery: Delivery) -> Delivery:
        if rule is None or self.dead:
            return delivery
        change = _AFTER.get(rule.fault)
        if change is not None:
            return change(rule, delivery)
        if rule.fault is Fault.FOREIGN_COMMAND:
            return evolve(delivery, after=(*delivery.after, *self._foreign(rule)))
        return delivery

    def _foreign(self, rule: FaultRule) -> tuple[Message, ...]:
        """What another client's command does; its reply goes to that client."""
        name, arguments = rule.foreign
        result = execute(self.state, name, arguments)
        self.state = result.state
        return self._events(result.events)

    # --- what the semantics leave open --------------------------------------------------------

    def _let_time_pass(self) -> None:
        self.state = evolve(self.state, host_ns=self._now_ns)
        if self._guest and self.state.running:
            self.state = guest_step(self.state, self._some_disks())

    def _some_disks(self) -> tuple[str, ...]:
        devices = self.state.devices
        if not devices:
            return ()
        return tuple(self._random.choice(devices).node for _ in range(_DISKS_A_STEP))

    def _run(
        self, command: str, arguments: Mapping[str, object] | None, *, shared: bool
    ) -> Delivery:
        result = start(self.state, command, arguments)
        certain = result.events_before_reply
        result = self._finish(result)
        self.state = result.state
        events = self._events(result.events)
        if result.state.died and result.reply is None and result.error is None:
            return Delivery(before=events, drop=True)
        place = self._reply_place(result.events, certain)
        if place > len(events):  # a stall holds the events back, not the reply
            place = 0
        reply = _reply(result)
        return Delivery(events[:place], reply, events[place:], shared, drop=self.dead)

    def _finish(self, result: CommandResult) -> CommandResult:
        state, reply, error = result.state, result.reply, result.error
        events = result.events
        while state.pending:
            # What is dated now comes after the events so far, which are stamped one by one later.
            state = evolve(state, host_ns=self._now_ns + _STAMP_NS * len(events))
            done = self._step(state)
            state, events = done.state, events + done.events
            reply = done.reply if reply is None else reply
            error = error or done.error
            if state.died:
                break
        return CommandResult(state, reply, error, events)

    def _step(self, state: VmState) -> StepEffect:
        step = state.pending[0]
        rule = self._faults.at_step(step)
        if rule is not None and rule.fault is Fault.DIE:
            return StepEffect(evolve(state, died=f"fault: die at {step}"))
        return advance(state, _failure(rule))

    def _reply_place(self, events: tuple[QmpEvent, ...], certain: int) -> int:
        """Where the reply stands: before what the job does, or before how it ends (fact 4)."""
        for place, event in enumerate(events[certain:], start=certain):
            if dict(event.data).get("status") in _ENDING and event.name == "JOB_STATUS_CHANGE":
                return self._random.choice((certain, place))
        return certain

    def _some_background(self) -> tuple[Message, ...]:
        messages: tuple[Message, ...] = ()
        for _ in range(self._random.randrange(3)):
            messages += self.background_step()
        return messages

    def _events(self, events: Iterable[QmpEvent]) -> tuple[Message, ...]:
        messages = [self._stamped(event) for event in events]
        if self._stalled_until_ns is not None:
            self._held += messages
            return ()
        return tuple(messages)

    def _stamped(self, event: QmpEvent) -> Message:
        self._now_ns += _STAMP_NS
        seconds, nanoseconds = divmod(self._now_ns, 10**9)
        stamp = {"seconds": seconds, "microseconds": nanoseconds // 1000}
        return {"timestamp": stamp, **event.message()}


def _goes_on(state: VmState) -> bool:
    step = next_in_background(state)
    if step is None or state.died:
        return False
    return not (step.op in _AFTER_THE_MEMORY and _stands_still(state))


def _stands_still(state: VmState) -> bool:
    """Whether the bandwidth is so small that the memory is never all written (fact 37)."""
    limit = dict(state.parameters).get("max-bandwidth")
    return isinstance(limit, int) and _NO_LIMIT_BELOW <= limit < _LEAST_BANDWIDTH


def _failure(rule: FaultRule | None) -> InjectedFailure | None:
    if rule is None or rule.fault not in {Fault.WRITE_ERROR, Fault.JOB_ERROR}:
        return None
    return InjectedFailure(rule.error)


def _reply(result: CommandResult) -> Message:
    if result.error is not None:
        return {"error": result.error.message()}
    return {"return": result.reply}


_AFTER: dict[Fault, Callable[[FaultRule, Delivery], Delivery]] = {
    Fault.DROP_AFTER: lambda _, delivery: evolve(delivery, reply=None, after=(), drop=True),
    Fault.NO_REPLY: lambda _, delivery: evolve(delivery, reply=None),
    Fault.SLOW_REPLY: lambda rule, delivery: evolve(delivery, delay_s=rule.delay_s),
    Fault.GARBAGE_REPLY: lambda _, delivery: evolve(
        delivery, reply=None, raw=b'{"return": {"\x00\xff oops\r\n'
    ),
    Fault.OVERSIZED_REPLY: lambda rule, delivery: evolve(
        delivery, reply=None, raw=b'{"return": "' + b"x" * rule.size_bytes + b'"}\r\n'
    ),
}
