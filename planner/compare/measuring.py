"""Takes a real snapshot in each design under a tag of its own, measures it, and deletes it again.

Rules: only on an explicit wish.  A tag that any disk holds already stops all of it before anything is
made; a file that is in the way stops what it is in the way of.  What is made is undone as a failed run
is: parts are deleted by id and name, overlays merged into their images, streams removed.  At the end the
VM must show what it showed before (`planner.run.leftovers`), and no file may be left; what does not
come off is reported.

On one connection nobody can ask while QEMU is busy, so how long the monitor was silent is not measured
from outside: the longest round trip of a command is, and the longest wait for an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import define, evolve, field

from planner.compare.comparison import Measurement
from planner.compare.repeated import in_rounds
from planner.compare.request_per_design import adapt, folder_for_streams, stream_name
from planner.compare.timed_backend import TimedBackend, now_us
from planner.compile.plan import Plan, compile_request
from planner.errors import (
    CannotConnect,
    InternalError,
    Interrupted,
    Problem,
    Refused,
    UndoIncomplete,
)
from planner.model.facts import Facts
from planner.model.request import ExistingTag, ExternalMachineState, ImageMachineState
from planner.model.request_text import ReadRequest
from planner.run.leftovers import differences, file_left, files_of
from planner.run.observation import baseline_of
from planner.run.outcome import Outcome
from planner.run.ports import (
    Backend,
    CommandRefused,
    ConnectionLost,
    Host,
    HostRefused,
    Images,
    NoReply,
)
from planner.run.pump import Pump, ask_facts
from planner.run.stopping import to_its_end
from planner.save.save_machine import SaveMachine

__all__ = ["Measuring", "compare_tag"]

_TIMEOUT_S = 300.0


def compare_tag(design: str) -> str:
    """The temporary tag under which a design is measured."""
    return f"snapplan-compare-{design}"


async def _ask(backend: Backend, command: str, **arguments: object) -> object:
    """Ask a question; None where QEMU refuses it.

    Raises:
        CannotConnect: The VM does not answer.
    """
    try:
        return await backend.execute(command, arguments, _TIMEOUT_S)
    except CommandRefused:
        return None
    except (ConnectionLost, NoReply) as error:
        raise CannotConnect(f"no answer to {command}: {error}", code="query-failed") from error


def _to_nobody(_words: str) -> None:
    """Say it to nobody."""


@define
class Measuring:
    """Measures designs on one VM, one after the other, in rounds.

    Attributes:
        backend: Connected to it.
        read: The request; for each design its machine state is put where that can put it.
        images: The VM's images, where this machine can reach them.
        host: The machine that QEMU runs on, where that is this one; needed for external parts.
        streams_to: The folder for streams; empty: where `folder_for_streams` says.
        tell: Who is told what is being done.
        repeat: How many rounds there are; in each, every design is measured once.
        seed: What their order inside the rounds follows from.
    """

    backend: Backend
    read: ReadRequest
    images: Images | None = None
    host: Host | None = None
    streams_to: str = ""
    tell: Callable[[str], None] = field(default=_to_nobody)
    repeat: int = 1
    seed: int = 0
    _stopped: bool = False
    _pump: Pump | None = None

    def interrupt(self) -> None:
        """Stop: the run in hand is undone, and no other is begun."""
        self._stopped = True
        if self._pump is not None:
            self._pump.interrupt()

    async def measure(
        self, facts: Facts, designs: tuple[str, ...]
    ) -> dict[str, tuple[Measurement, ...]]:
        """Measure each design `repeat` times.  Afterwards the VM holds and does what it did before.

        Returns:
            The runs of each design, in their order.

        Cancelling it stops it as `interrupt` does; `CancelledError` is raised after the undo.

        Raises:
            Refused: A temporary tag or file is taken, or the request cannot be done; nothing was made.
            RunFailed: A run failed; it was undone, or the error says what is left.
        """
        _check_tags(facts, designs)
        return await to_its_end(self._each(facts, designs), self.interrupt)

    async def _each(
        self, facts: Facts, designs: tuple[str, ...]
    ) -> dict[str, tuple[Measurement, ...]]:
        found: dict[str, tuple[Measurement, ...]] = dict.fromkeys(designs, ())
        rounds = in_rounds(designs, self.repeat, self.seed) if self.repeat > 1 else _once(designs)
        for number, design in rounds:
            if self._stopped:
                raise Interrupted("the comparison was stopped")
            which = f", run {number} of {self.repeat}" if self.repeat > 1 else ""
            self._say(f"measuring design {design}{which}")
            found[design] += (await self._measure(facts, design),)
        return found

    async def _measure(self, before: Facts, design: str) -> Measurement:
        facts = await ask_facts(self.backend)
        plan = compile_request(self._request(facts, design), facts, design)
        files = files_of(plan.program)
        await self._must_be_absent(files)
        sizes = await self._file_sizes(before, plan)
        timed = TimedBackend(self.backend)
        self._pump = Pump(
            SaveMachine.on(plan.program, before), timed, images=self.images, host=self.host
        )
        outcome = found = None
        begin = now_us()
        try:
            outcome = await self._pump.run()
            if outcome.failure is None:
                total_us = now_us() - begin
                grown = await self._file_sizes(before, plan) - sizes + _new_images(outcome)
                found = _measurement(timed, outcome, begin, total_us, grown)
        finally:
            left = await self._clean(self._pump, before, files, outcome)
            self._pump = None
            if left:
                raise UndoIncomplete(
                    f"the measurement of design {design} is not wholly undone",
                    problems=left,
                    left=left,
                    vm_state="The problems say what is still there.",
                )
        outcome.raise_failure()
        if found is None:
            raise InternalError("a run without failure and without figures")
        return found

    def _say(self, words: str) -> None:
        try:
            self.tell(words)
        except Exception:  # noqa: BLE001 - whatever it is, the guest must not wait for it
            self.tell = _to_nobody

    def _request(self, facts: Facts, design: str) -> ReadRequest:
        """The request as the design gets it, under names of the comparison's own."""
        request = adapt(self.read, facts, design).read.request
        state = request.machine_state
        if isinstance(state, ExternalMachineState | ImageMachineState):
            folder = self.streams_to or folder_for_streams(self.read.request, facts)
            state = evolve(state, path=f"{folder}/{stream_name(design)}")
        if request.freeze is not None:
            self._say("file systems are not frozen: a measurement knows no guest agent")
        wanted = evolve(
            request,
            tag=compare_tag(design),
            existing_tag=ExistingTag.REFUSE,
            machine_state=state,
            freeze=None,
        )
        return ReadRequest(wanted)

    async def _file_sizes(self, facts: Facts, plan: Plan) -> int:
        nodes = baseline_of(facts).nodes
        resolution = plan.program.resolution
        wanted = {nodes[part.disk] for part in resolution.internal}
        wanted |= {overlay.overlay for overlay in resolution.overlays}
        reply = await _ask(self.backend, "query-named-block-nodes", flat=True)
        total = 0
        for node in reply if isinstance(reply, list) else ():
            if node.get("node-name") in wanted:
                total += int(node.get("image", {}).get("actual-size", 0))
        return total

    async def _clean(
        self, pump: Pump, before: Facts, files: tuple[str, ...], outcome: Outcome | None
    ) -> tuple[Problem, ...]:
        """Undo what a run made, as a failed run is undone, and look; what is still there."""
        if outcome is not None and outcome.failure is not None:
            return ()  # the run undid itself, and says what it could not
        taken = await pump.take_back()
        there = [file for file in files if await self._is_there(file)]
        after = await ask_facts(self.backend)
        seen = (*differences(before, after), *(file_left(file) for file in there))
        return tuple(dict.fromkeys((*taken.left, *seen)))

    async def _must_be_absent(self, files: tuple[str, ...]) -> None:
        problems = tuple([_file_taken(file) for file in files if await self._is_there(file)])
        if problems:
            message = "a file of the comparison is there already"
            raise Refused(message, problems=problems, code="file-exists")

    async def _is_there(self, file: str) -> bool:
        if self.host is None:
            return False
        try:
            told = await self.host.do("is-there", {"path": file}, _TIMEOUT_S)
        except (HostRefused, NoReply):
            return True  # nobody can say that it is not
        return bool(told.get("there"))


def _once(designs: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """As they were named."""
    return ((1, design) for design in designs)


def _file_taken(file: str) -> Problem:
    return Problem("file-exists", file, "it exists, and is not overwritten", "move it away")


def _check_tags(facts: Facts, designs: tuple[str, ...]) -> None:
    problems = tuple(
        Problem(
            "tag-taken",
            disk.name,
            f"it holds a snapshot {tag!r}, which the comparison would make",
            "delete it if it is left from an earlier comparison",
        )
        for tag in map(compare_tag, designs)
        for disk in facts.disks
        if disk.holding(tag)
    )
    if problems:
        message = "a temporary tag of the comparison is taken"
        raise Refused(message, problems=problems, code="tag-taken")


def _measurement(
    timed: TimedBackend, outcome: Outcome, begin_us: int, total_us: int, grown_bytes: int
) -> Measurement:
    # A question's span has in it what QEMU does for the command before it.
    of_their_own = [span for span in timed.spans if not span.behind]
    longest = max(of_their_own, key=lambda span: span.end - span.begin)
    return Measurement(
        pause_us=outcome.pause_us,
        total_us=total_us,
        longest_us=longest.end - longest.begin,
        longest_command=longest.command,
        silence_us=timed.silence_us,
        vm_state_bytes=_vm_state_bytes(outcome),
        grown_bytes=grown_bytes,
        spans=tuple(
            evolve(span, begin=span.begin - begin_us, end=span.end - begin_us)
            for span in timed.spans
        ),
        pauses=tuple((name, at - begin_us) for name, at in timed.pauses),
    )


def _new_images(outcome: Outcome) -> int:
    """How long the images are that were made and that no node shows any more."""
    return sum(part.image_bytes for part in outcome.parts)


def _vm_state_bytes(outcome: Outcome) -> int:
    return sum(part.state_bytes for part in outcome.parts)
