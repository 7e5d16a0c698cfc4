"""Does the I/O that the machine asks for: the only place where a run waits.

The pump holds a backend, and where the VM's images can be reached, these.  It turns what they raise
into the machine's responses, once, and decides nothing.  With a recorder, whatever changes something is
on the disk before it is done (`planner.execute.journal`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Generator, Sequence
from typing import TypeVar

from planner.compile.program import Program
from planner.errors import CannotConnect, InternalError
from planner.execute.actions import (
    Action,
    AskAgent,
    AwaitEvent,
    HostDo,
    ListImage,
    NoAnswer,
    Poll,
    Reconnect,
    RepairImage,
    Response,
    Returned,
    Send,
    Tell,
    Turned,
    Withheld,
)
from planner.execute.driven import Driven
from planner.execute.freezing import FREEZE, THAW
from planner.execute.look import baseline_of
from planner.execute.machine import Machine
from planner.execute.outcome import Outcome
from planner.execute.phases import Phase
from planner.execute.ports import (
    Agent,
    Backend,
    Clock,
    CommandRefused,
    ConnectionLost,
    Event,
    Host,
    HostRefused,
    Images,
    NoReply,
    Reporter,
)
from planner.execute.recorder import Recorder
from planner.execute.survey import survey
from planner.model.facts import Facts

__all__ = ["HostClock", "Pump", "ask_facts"]

_RETRY_S = 0.1
_NO_HOST = "external parts are files on QEMU's host, which is not known to be this machine"
_Result = TypeVar("_Result")


async def ask_facts(backend: Backend) -> Facts:
    """Ask a connected VM for its facts; the VM is the same afterwards.

    Raises:
        CannotConnect: The VM does not answer, or not in the shape that QMP says.
    """
    asking = survey()
    return await _drive(asking, backend)


async def _drive(asking: Generator[Send, Response, _Result], backend: Backend) -> _Result:
    send = next(asking)
    while True:
        response = await _send(backend, send)
        try:
            send = asking.send(response)
        except StopIteration as end:
            result: _Result = end.value
            return result


async def _send(backend: Backend, send: Send) -> Response:
    asking = _answer(backend.execute(send.command, send.arguments, send.timeout_s))
    if not send.then:
        return await asking
    # A task begins only once this one waits, so each question is sent after what stands before it.
    behind = [asyncio.create_task(_ask_behind(backend, send, each)) for each in send.then]
    try:
        response = await asking
        if isinstance(response, NoAnswer):
            return response
        then = tuple([await each for each in behind])
        return Returned(response.value, then) if isinstance(response, Returned) else response
    finally:
        for each in behind:
            each.cancel()


async def _ask_behind(backend: Backend, send: Send, question: Send) -> Response:
    # Its own time begins when the command before it is done with.
    timeout_s = send.timeout_s + question.timeout_s
    return await _answer(backend.execute(question.command, question.arguments, timeout_s))


async def _answer(asking: Awaitable[object]) -> Response:
    try:
        return Returned(await asking)
    except CommandRefused as refused:
        return Turned(refused.error_class, refused.description)
    except ConnectionLost as lost:
        return NoAnswer(str(lost), lost=True)
    except NoReply as silent:
        return NoAnswer(str(silent), lost=False)


class HostClock:
    """This machine's wall clock: QEMU's too, where it runs here."""

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return time.time_ns() // 1000


class Pump:
    """Runs one program on one connected backend.

    Args:
        program: Proved, and fit for the VM of these facts.
        facts: Just asked from that VM.
        backend: Connected to it.
        images: Its images, where this machine can reach them; None: a VM that dies stays unknown.
        host: The machine that QEMU runs on, where that is this one; needed for external parts only.
        agent: The guest's agent; needed where file systems are frozen.
        clock: The clock of QEMU's host, where that is this machine; else None.
        reporter: Who is told of the progress.
        deadline_s: Replaces every step's deadline where given, in seconds.
        pause_budget_ms: The longest that the guest may stand still before the run is given up and
            undone, in milliseconds; None: as long as it takes.
        recorder: Who writes the journal; None: nobody.
        machine: In place of a new one: one that stands where a journal ends.
    """

    def __init__(  # noqa: PLR0913 - each is a port of its own
        self,
        program: Program,
        facts: Facts,
        backend: Backend,
        *,
        images: Images | None = None,
        host: Host | None = None,
        agent: Agent | None = None,
        clock: Clock | None = None,
        reporter: Reporter | None = None,
        deadline_s: float | None = None,
        pause_budget_ms: float | None = None,
        recorder: Recorder | None = None,
        machine: Machine | None = None,
    ) -> None:
        self._machine: Machine | Driven = machine or Machine(
            program, baseline_of(facts), deadline_s
        )
        self._recorder = recorder
        self._interrupted = False
        self._backend = backend
        self._images = images
        self._host = host
        self._agent = agent
        self._clock = clock
        self._reporter = reporter
        self._deadline = 0.0
        self._frozen_until: float | None = None
        self._pause_budget_ms = pause_budget_ms
        self._stopped_at: float | None = None

    def interrupt(self) -> None:
        """Stop the run: the step in hand is finished, then everything is undone."""
        self._interrupted = True

    async def run(self) -> Outcome:
        """Run the program to its end.

        Returns:
            How it ended; nothing is raised for a step that failed.  In every end but ``unknown`` the
            VM's run state is that of the outcome.
        """
        return await self.go_on(self._machine.start())

    async def take_back(self) -> Outcome:
        """Undo what the run made, though nothing failed; how that ended.  Only without a recorder."""
        if not isinstance(self._machine, Machine):
            raise InternalError("only a run of a program can be taken back")
        return await self.go_on(self._machine.take_back())

    async def go_on(self, action: Action | Outcome) -> Outcome:
        """Go on from what the machine asked for; see `run`."""
        while not isinstance(action, Outcome):
            response = await self._recorded(action)
            interrupted, events = self._interrupted, self._backend.pending_events()
            if self._recorder is not None:
                self._recorder.after(action, response, events, interrupted=interrupted)
            if interrupted:
                self._machine.interrupt()
            self._note_pause(events)
            action = self._machine.tell(response, events)
        return action

    def _note_pause(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.name == "STOP":
                self._stopped_at = asyncio.get_running_loop().time()
            elif event.name == "RESUME":
                self._stopped_at = None

    def _over_budget(self, action: Action) -> Withheld | None:
        """What to say in place of an action when the guest has stood still for too long.

        A `cont` is never withheld: it ends the pause, and with it everything that the pause is for.
        """
        if self._pause_budget_ms is None or self._stopped_at is None:
            return None
        if isinstance(action, Tell) or (isinstance(action, Send) and action.command == "cont"):
            return None
        stood_ms = (asyncio.get_running_loop().time() - self._stopped_at) * 1000
        if stood_ms <= self._pause_budget_ms:
            return None
        return Withheld(
            "pause-budget-exceeded",
            f"the guest has stood still for {stood_ms:.0f} ms, and {self._pause_budget_ms:g} ms are "
            "allowed (--pause-budget)",
        )

    async def _recorded(self, action: Action) -> Response:
        forward = self._machine.visit.phase is Phase.STEPPING
        withheld = self._over_budget(action) if forward else None
        if withheld is None and self._recorder is not None:
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
                self._deadline = asyncio.get_running_loop().time() + action.timeout_s
            return await self._send(action)
        if isinstance(action, HostDo):
            return await self._on_host(action)
        if isinstance(action, AskAgent):
            return await self._on_agent(action)
        if isinstance(action, AwaitEvent):
            return await self._await_event(action)
        if isinstance(action, Poll):
            return await self._poll(action)
        if isinstance(action, Reconnect):
            return await self._reconnect(action)
        if isinstance(action, Tell):
            self._tell(action)
            return Returned(0 if self._clock is None else self._clock.now_us())
        return await self._on_image(action)

    async def _send(self, action: Send) -> Response:
        if not action.descriptor:
            return await _send(self._backend, action)
        if self._host is None:
            return Turned("host-not-here", _NO_HOST)
        try:
            descriptor = self._host.descriptor(action.descriptor)
        except HostRefused as refused:
            return Turned(refused.code, refused.description)
        return await _answer(
            self._backend.execute_with_descriptor(
                action.command, action.arguments, descriptor, action.timeout_s
            )
        )

    async def _on_host(self, action: HostDo) -> Response:
        if self._host is None:
            return Turned("host-not-here", _NO_HOST)
        try:
            told = await self._host.do(action.instruction, action.arguments, action.timeout_s)
        except HostRefused as refused:
            return Turned(refused.code, refused.description)
        except NoReply as silent:
            return NoAnswer(str(silent), lost=False)
        return Returned(dict(told))

    async def _on_agent(self, action: AskAgent) -> Response:
        if self._agent is None:
            return Turned("agent-not-here", "no guest agent is connected")
        if action.command == FREEZE:
            return await _answer(self._agent.freeze(action.timeout_s))
        if action.command == THAW:
            return await _answer(self._agent.thaw(action.timeout_s))
        return await _answer(self._agent.status(action.timeout_s))

    async def _poll(self, action: Poll) -> Response:
        left = self._deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return NoAnswer("the deadline passed", lost=False)
        try:
            await self._backend.wait_for_event(min(action.every_s, left))
        except ConnectionLost as lost:
            return NoAnswer(str(lost), lost=True)
        except NoReply:
            return Returned()
        return Returned()

    async def _await_event(self, action: AwaitEvent) -> Response:
        left = self._deadline - asyncio.get_running_loop().time()
        try:
            await self._backend.wait_for_event(left if action.within_s is None else action.within_s)
        except ConnectionLost as lost:
            return NoAnswer(str(lost), lost=True)
        except NoReply as silent:
            return NoAnswer(str(silent), lost=False)
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

    def _tell(self, action: Tell) -> None:
        if self._reporter is None:
            return
        if action.step:
            self._reporter.step(action.step, action.count, action.text)
        else:
            self._reporter.note(action.text)
