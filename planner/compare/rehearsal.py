"""A run on the simulated VM of some facts: what the executor sends, and what each fault leaves.

Theory: the machine that runs programs does no I/O, so it can be told the answers of the semantics
instead of QEMU's.  What is counted here is therefore what a run really sends, looks and dismissals
included; and what a fault leaves is what the executor's own undo leaves, not what somebody says.

Rules: no I/O and no clock.  A simulated second goes by before each command.  Of a step that fails,
the last small thing that can fail does: that leaves the most to undo.
"""

from __future__ import annotations

from attrs import define, field, frozen

from planner.compare.rehearsal_host import RehearsedAgent, RehearsedHost, StepFault, faults_of
from planner.errors import BadInput
from planner.model.facts import Facts
from planner.program.program import Program
from planner.run.actions import (
    Action,
    AskAgent,
    AwaitEvent,
    ErrorReply,
    HostDo,
    NoAnswer,
    Poll,
    Reconnect,
    Response,
    Returned,
    Send,
    Tell,
)
from planner.run.observation import baseline_of
from planner.run.outcome import Outcome
from planner.run.ports import Event
from planner.run.survey import survey
from planner.save.save_machine import SaveMachine
from planner.semantics import (
    InjectedFailure,
    VmState,
    advance,
    advance_background,
    advance_host,
    guest_step,
    next_in_background,
    start,
    state_from_facts,
)
from planner.semantics import QmpEvent as SimulatedEvent

__all__ = ["StepFault", "Rehearsal", "Span", "faults_of", "rehearse"]

_SECOND_NS = 10**9
_OLDEST = "7.2"
_CAN_FAIL = ("write-vmstate", "create-snapshot", "prepare-internal")


@frozen
class Span:
    """One command that was sent.

    Attributes:
        command: Its name.
        begin: When it was sent: in small steps of QEMU's, or in microseconds where measured.
        end: When it was answered.
        paused: Whether the guest was paused when it was sent.
        behind: Whether it was sent right behind the one before, in the same round trip.
    """

    command: str
    begin: int
    end: int
    paused: bool = False
    behind: bool = False


@frozen
class Rehearsal:
    """What came of a run on the simulated VM.

    Attributes:
        outcome: Its end.
        spans: What was sent, in order; its unit is one small step of QEMU's.
        pauses: STOP and RESUME, in the same unit.
        files: Which files of the run's are on the host in the end, by path.
    """

    outcome: Outcome
    spans: tuple[Span, ...]
    pauses: tuple[tuple[str, int], ...]
    files: tuple[str, ...] = ()


def rehearse(
    program: Program, facts: Facts, step: int = 0, fault: StepFault = StepFault.FAILS
) -> Rehearsal:
    """Run a program on the simulated VM of the facts.

    Args:
        program: Made for these facts.
        facts: The VM.
        step: The step that the fault strikes, from 1; 0: none is struck.
        fault: What goes wrong.
    """
    vm = _Vm(_state(facts))
    simulated = _survey(vm)
    vm = _Vm(vm.state)
    target = program.steps[step - 1].execute if step else ""
    ordinal = sum(1 for s in program.steps[: max(step, 0)] if s.execute == target)
    return _run(
        SaveMachine.of(program, baseline_of(simulated)), vm, _Strike(target, ordinal, fault)
    )


def _survey(vm: _Vm) -> Facts:
    asking = survey()
    send = next(asking)
    while True:
        try:
            send = asking.send(vm.answer(send))
        except StopIteration as end:
            facts: Facts = end.value
            return facts


def _state(facts: Facts) -> VmState:
    try:
        return state_from_facts(facts)
    except BadInput:
        return state_from_facts(facts, version=_OLDEST)


@define
class _Strike:
    """Which command is struck: the n-th of its name."""

    command: str
    left: int
    fault: StepFault

    def falls_on(self, action: Send | HostDo | AskAgent) -> bool:
        command = action.instruction if isinstance(action, HostDo) else action.command
        if command != self.command or self.left < 1:
            return False
        if isinstance(action, Send) and not action.starts_deadline:
            return False
        self.left -= 1
        return self.left == 0


def _run(machine: SaveMachine, vm: _Vm, strike: _Strike) -> Rehearsal:
    spans: list[Span] = []
    host, agent = RehearsedHost(), RehearsedAgent()
    action: Action | Outcome = machine.start()
    while not isinstance(action, Outcome):
        if isinstance(action, AskAgent):
            response = agent.answer(action, strike.fault if strike.falls_on(action) else None)
        elif isinstance(action, Send):
            response = _sent(action, vm, strike, spans)
        elif isinstance(action, HostDo):
            response = host.answer(action, strike.fault if strike.falls_on(action) else None)
        else:
            waits = isinstance(action, Poll | AwaitEvent)
            response = vm.wait() if waits else _without_vm(action)
        action = machine.tell(response, vm.take_events())
    return Rehearsal(action, tuple(spans), tuple(vm.pauses), tuple(sorted(host.files)))


def _sent(send: Send, vm: _Vm, strike: _Strike, spans: list[Span]) -> Response:
    """Send a command, and the questions behind it where it is done."""
    begin, paused = vm.now, not vm.state.running
    struck = strike.falls_on(send)
    response = vm.struck(send, strike.fault) if struck else vm.answer(send)
    spans.append(Span(send.command, begin, vm.now, paused))
    if not isinstance(response, Returned):
        return response
    then = []
    for question in send.then:
        begin = vm.now
        then.append(vm.answer(question))
        spans.append(Span(question.command, begin, vm.now, paused, behind=True))
    return Returned(response.value, tuple(then))


def _without_vm(action: Action) -> Response:
    if isinstance(action, Tell | Reconnect):
        return Returned()
    return NoAnswer("nothing more happens", lost=False)


@define
class _Vm:
    """The simulated VM as the machine meets it."""

    state: VmState
    now: int = 0
    events: list[Event] = field(factory=list)
    pauses: list[tuple[str, int]] = field(factory=list)

    def take_events(self) -> tuple[Event, ...]:
        taken = tuple(self.events)
        self.events.clear()
        return taken

    def wait(self) -> Response:
        """Let a stream or a merge go on by one step, where there is one."""
        if next_in_background(self.state):
            done = advance_background(guest_step(self.state))
            self._take(done.state, done.events)
        return Returned()

    def answer(self, send: Send, fail_at: int = 0) -> Response:
        """Run a command; ``fail_at``: which of its small steps fails, from 1."""
        self.state = advance_host(guest_step(self.state), _SECOND_NS)
        result = start(self.state, send.command, send.arguments)
        self._take(result.state, result.events)
        reply, error, number = result.reply, result.error, 0
        while self.state.pending:
            number += 1
            done = advance(self.state, InjectedFailure() if number == fail_at else None)
            self._take(done.state, done.events)
            reply = done.reply if reply is None else reply
            error = error or done.error
        if error is not None:
            return ErrorReply(error.error_class, error.desc)
        return Returned(reply)

    def _take(self, state: VmState, events: tuple[SimulatedEvent, ...]) -> None:
        self.state = state
        self.now += 1
        for event in events:
            self.events.append(Event(event.name, dict(event.data), state.host_ns // 1000))
            if event.name in ("STOP", "RESUME"):
                self.pauses.append((event.name, self.now))

    def struck(self, send: Send, fault: StepFault) -> Response:
        """Run a command that a fault strikes."""
        if fault is StepFault.LOST:
            self.answer(send)
            self.events.clear()
            return NoAnswer("the connection broke", lost=True)
        fail_at = self._last_that_can_fail(send)
        if not fail_at:
            return ErrorReply("GenericError", "it is made to fail")
        return self.answer(send, fail_at)

    def _last_that_can_fail(self, send: Send) -> int:
        trial = start(self.state, send.command, send.arguments)
        state, number, found = trial.state, 0, 0
        while state.pending:
            number += 1
            if state.pending[0].op.startswith(_CAN_FAIL):
                found = number
            state = advance(state).state
        return found
