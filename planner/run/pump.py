"""Does the I/O that the machine asks for: the only place where a run waits.

The pump holds a backend, and where the VM's images can be reached, these.  It turns what they raise
into the machine's responses, once, and decides nothing.  With a recorder, whatever changes something is
on the disk before it is done (`planner.run.journal`).

Rules: a run that has begun ends by its machine's own words.  Cancelling it asks it to stop, and is
raised again when it has undone itself (`planner.run.stopping`); what a port raises that it should
not is an unknown outcome, which the machine looks at; who is told of the progress cannot fail
(`planner.run.reporting`).
"""

from __future__ import annotations

import asyncio

from planner.errors import CannotConnect
from planner.host.host_clock import HostClock
from planner.run.actions import (
    SINK,
    Action,
    AskAgent,
    AtGate,
    AwaitEvent,
    ErrorReply,
    HostDo,
    ListImage,
    NoAnswer,
    NotSent,
    Poll,
    Reconnect,
    RepairImage,
    Response,
    Returned,
    Send,
    Tell,
)
from planner.run.asking import answer_of, ask_facts, send_command
from planner.run.deadline import Deadline
from planner.run.freezing import FREEZE, THAW
from planner.run.machine import Machine
from planner.run.outcome import Outcome
from planner.run.pause_budget import PauseBudget
from planner.run.phases import Phase
from planner.run.ports import (
    Agent,
    Backend,
    Clock,
    ConnectionLost,
    Gates,
    GateShut,
    Host,
    HostRefused,
    Images,
    NoReply,
    Reporter,
)
from planner.run.progress import Meter
from planner.run.recorder import Recorder
from planner.run.reporting import tell, telling
from planner.run.sink import Sink
from planner.run.stopping import go_on_regardless, to_its_end
from planner.run.watching import Watch

__all__ = ["HostClock", "Pump", "ask_facts"]

_RETRY_S = 0.1
_NO_HOST = "external parts are files on QEMU's host, which is not known to be this machine"


class Pump:
    """Runs one machine on one connected backend.

    `run`, `take_back` and `go_on` may be cancelled: the run then stops as after `interrupt`, and
    `CancelledError` is raised when it has come to its end.

    Args:
        machine: Not started, or one that stands where a journal ends (`go_on`).
        backend: Connected to the VM.
        images: Its images, where this machine can reach them; None: a VM that dies stays unknown.
        host: The machine that QEMU runs on, where that is this one; needed for external parts only.
        agent: The guest's agent; needed where file systems are frozen.
        clock: The clock of QEMU's host, where that is this machine; else None.
        reporter: Who is told of the progress; one that fails is not told anything more.
        pause_budget_ms: The longest that the guest may stand still before the run is given up and
            undone, in milliseconds; None: as long as it takes.
        recorder: Who writes the journal; None: nobody.
        meter: What counts the bytes of a snapshot job, where it can be counted.
        gates: The other members of the group that it is of; None: it is of none.
    """

    _sink: Sink | None = None
    _waiting: asyncio.Timeout | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    def __init__(  # noqa: PLR0913 - each is a port of its own
        self,
        machine: Machine,
        backend: Backend,
        *,
        images: Images | None = None,
        host: Host | None = None,
        agent: Agent | None = None,
        clock: Clock | None = None,
        reporter: Reporter | None = None,
        pause_budget_ms: float | None = None,
        recorder: Recorder | None = None,
        meter: Meter | None = None,
        gates: Gates | None = None,
    ) -> None:
        self._machine = machine
        self._recorder = recorder
        self._interrupted = False
        self._backend = backend
        self._images = images
        self._host = host
        self._agent = agent
        self._clock = clock
        self._gates = gates
        self._reporter = telling(reporter)
        self._watch = Watch(self._reporter, meter)
        self._deadline = Deadline()
        self._frozen_until: float | None = None
        self._budget = PauseBudget(pause_budget_ms)

    def interrupt(self) -> None:
        """Stop the run: the step in hand is finished, then everything is undone.

        Whatever is waited for is looked at once more; it may never come.
        """
        self._interrupted = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end_waiting)

    def _end_waiting(self) -> None:
        if self._waiting is not None and self._loop is not None:
            self._waiting.reschedule(self._loop.time())

    async def run(self) -> Outcome:
        """Run the machine to its end.

        Returns:
            How it ended; nothing is raised for a step that failed.  In every end but ``unknown`` the
            VM's run state is that of the outcome.
        """
        return await self.go_on(self._machine.start())

    async def take_back(self) -> Outcome:
        """Undo what the run made, though nothing failed; how that ended.  Only without a recorder."""
        return await self.go_on(self._machine.take_back())

    async def go_on(self, action: Action | Outcome) -> Outcome:
        """Go on from what the machine asked for; see `run`."""
        self._loop = asyncio.get_running_loop()
        try:
            return await to_its_end(self._pump(action), self.interrupt)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of what it holds open; the VM is not told anything."""
        if self._sink is not None:
            self._sink.close()

    async def _pump(self, action: Action | Outcome) -> Outcome:
        while not isinstance(action, Outcome):
            phase = self._machine.context.phase.value
            response = await self._watch.during(action, phase, self._whatever_comes(action))
            interrupted, events = self._interrupted, self._backend.pending_events()
            if self._recorder is not None:
                self._recorder.after(action, response, events, interrupted=interrupted)
            if interrupted:
                self._machine.interrupt()
            self._budget.note(events, asyncio.get_running_loop().time())
            action = self._machine.tell(response, events)
        if self._recorder is not None:
            self._recorder.flush()
        self._watch.enter(action.phase)
        return action

    async def _whatever_comes(self, action: Action) -> Response:
        """Do it; what should not have happened leaves its outcome unknown, and the machine looks."""
        try:
            return await self._recorded(action)
        except (
            asyncio.CancelledError
        ):  # whoever cancels every task there is reaches this one as well
            go_on_regardless()
            self._interrupted = True
            return NoAnswer("it was cancelled", lost=True)  # so may be the connection's own tasks
        except Exception as error:  # noqa: BLE001 - the guest must not stay paused for anybody's bug
            return NoAnswer(f"{type(error).__name__}: {error}", lost=True)

    async def _recorded(self, action: Action) -> Response:
        phase = self._machine.context.phase
        now = asyncio.get_running_loop().time()
        withheld = self._budget.over(action, now) if phase is Phase.STEPPING else None
        if withheld is None and self._recorder is not None:
            forward = phase in (Phase.STEPPING, Phase.CONFIRMING)
            withheld = self._recorder.before(action, forward=forward)
        return withheld or await self._do_in_time(action)

    async def _do_in_time(self, action: Action) -> Response:
        """Do it, within the time that file systems may be frozen where they are."""
        now = asyncio.get_running_loop().time()
        if isinstance(action, AskAgent):
            if action.command == FREEZE and action.freezes_for_s:
                self._frozen_until = now + action.freezes_for_s
            elif action.command == THAW:
                self._frozen_until = None
            return await self._do(action)
        if self._frozen_until is None:
            return await self._do(action)
        try:
            async with asyncio.timeout(max(self._frozen_until - now, 0.0)):
                return await self._do(action)
        except TimeoutError:
            return NoAnswer("the time for which file systems may be frozen is over", lost=False)

    async def _do(self, action: Action) -> Response:
        if isinstance(action, Send):
            if action.starts_deadline:
                self._deadline.start(asyncio.get_running_loop().time(), action.timeout_s)
            return await self._send(action)
        if isinstance(action, HostDo):
            return await self._on_host(action)
        if isinstance(action, AskAgent):
            return await self._on_agent(action)
        if isinstance(action, AtGate):
            return await self._at_gate(action)
        if isinstance(action, AwaitEvent):
            return await self._await_event(action)
        if isinstance(action, Poll):
            return await self._poll(action)
        if isinstance(action, Reconnect):
            return await self._reconnect(action)
        if isinstance(action, Tell):
            tell(self._reporter, action)
            return Returned(0 if self._clock is None else self._clock.now_us())
        return await self._on_image(action)

    async def _send(self, action: Send) -> Response:
        if not action.descriptor:
            return await send_command(self._backend, action)
        if action.descriptor == SINK:
            self._sink = self._sink or Sink()
            return await self._sink.send(self._backend, action)
        if self._host is None:
            return ErrorReply("host-not-here", _NO_HOST)
        try:
            descriptor = self._host.descriptor(action.descriptor)
        except HostRefused as refused:
            return ErrorReply(refused.code, refused.description)
        return await answer_of(
            self._backend.execute_with_descriptor(
                action.command, action.arguments, descriptor, action.timeout_s
            )
        )

    async def _on_host(self, action: HostDo) -> Response:
        if self._host is None:
            return ErrorReply("host-not-here", _NO_HOST)
        try:
            told = await self._host.do(action.instruction, action.arguments, action.timeout_s)
        except HostRefused as refused:
            return ErrorReply(refused.code, refused.description)
        except NoReply as silent:
            return NoAnswer(str(silent), lost=False)
        return Returned(dict(told))

    async def _on_agent(self, action: AskAgent) -> Response:
        if self._agent is None:
            return ErrorReply("agent-not-here", "no guest agent is connected")
        if action.command == FREEZE:
            return await answer_of(self._agent.freeze(action.timeout_s))
        if action.command == THAW:
            return await answer_of(self._agent.thaw(action.timeout_s))
        return await answer_of(self._agent.status(action.timeout_s))

    async def _at_gate(self, action: AtGate) -> Response:
        if self._gates is None:
            return NotSent("group-aborted", "this run is a member of no group that is at work")
        try:
            await self._gates.wait_at(action.gate)
        except GateShut as shut:
            return NotSent(shut.code, str(shut))
        return Returned()

    async def _poll(self, action: Poll) -> Response:
        now = asyncio.get_running_loop().time()
        left = self._deadline.until - now
        if left <= 0:
            return NoAnswer(self._deadline.passed(now), lost=False)
        waited = await self._event_within(min(action.every_s, left))
        return waited if isinstance(waited, NoAnswer) and waited.lost else Returned()

    async def _await_event(self, action: AwaitEvent) -> Response:
        if action.within_s is not None:
            return await self._event_within(action.within_s)
        clock = asyncio.get_running_loop().time
        waited = await self._event_within(self._deadline.until - clock())
        late = isinstance(waited, NoAnswer) and not waited.lost
        return NoAnswer(self._deadline.passed(clock()), lost=False) if late else waited

    async def _event_within(self, seconds: float) -> Response:
        try:
            async with asyncio.timeout(None) as self._waiting:
                await self._backend.wait_for_event(seconds)
        except TimeoutError:
            return Returned()  # the run is to stop: the machine looks whether to wait any longer
        except ConnectionLost as lost:
            return NoAnswer(str(lost), lost=True)
        except NoReply as silent:
            return NoAnswer(str(silent), lost=False)
        finally:
            self._waiting = None
        return Returned()

    async def _reconnect(self, action: Reconnect) -> Response:
        """Connect anew; a QEMU that is just dying may still take a connection and drop it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + action.timeout_s
        while True:
            try:
                await self._backend.connect(max(until - loop.time(), 0.0))
            except CannotConnect as error:
                dead = error.code == "nobody-listens" and self._images is not None
                if dead or loop.time() + _RETRY_S > until:
                    return NoAnswer(error.message, lost=True, dead=dead)
                await asyncio.sleep(_RETRY_S)
            else:
                return Returned()

    async def _on_image(self, action: ListImage | RepairImage) -> Response:
        if self._images is None:
            return NoAnswer("images of that VM cannot be reached from here", lost=False)
        try:
            if isinstance(action, ListImage):
                return Returned(await self._images.snapshots(action.filename))
            await self._images.delete(action.filename, action.name, action.snapshot_id)
        except NoReply as silent:
            return NoAnswer(str(silent), lost=False)
        return Returned()
