"""A VM and its snapshots, as a tool holds them: each method is a verb of `planner.verbs`.

Every method may be cancelled (``asyncio.timeout``, a task group that falls): what it had begun is undone
first, and then ``CancelledError`` is raised.  A callback that raises stops nothing; it is not called
again.  Methods of one VM are called one after the other: the VM is locked meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, field, frozen

from planner.compare.comparison import DesignReport, design_names
from planner.compile.designs import AUTO
from planner.compile.plan import Plan, compile_request
from planner.errors import BadInput, InternalError, Problem
from planner.inspect.inspecting import Inspection
from planner.library.progress import OnProgress
from planner.library.snapshot import Snapshot, snapshot_of, telling
from planner.library.whole import refuse_partial
from planner.load.fresh_qemu import RestorePlan
from planner.model.request import Request, RunStateAfter
from planner.model.request_text import ReadRequest, check_request
from planner.recover.recovery import Pending, Recovered
from planner.verbs.adopt import adopt
from planner.verbs.collect import Collected, collect, look_for_garbage
from planner.verbs.compare import CompareWish, compare
from planner.verbs.context import Context
from planner.verbs.huge_pages import Joined, join_memory
from planner.verbs.inspect import inspect
from planner.verbs.listing import list_snapshots
from planner.verbs.recover import pending_of, raise_left, recover
from planner.verbs.restore import restore_into
from planner.verbs.restore_decision import RestoreWish
from planner.verbs.save import Limits, check_save, save

__all__ = ["Vm"]


@frozen
class Vm:
    """A running VM that is attached."""

    _context: Context = field(repr=False)

    @property
    def context(self) -> Context:
        """What its verbs are done with; for those of a group."""
        return self._context

    async def inspect(self) -> Inspection:
        """Ask the VM what it is, and what each of its disks can do.

        Raises:
            CannotConnect: It does not answer, or not in the shape that QMP says.
        """
        return await inspect(self._context)

    async def plan(self, what: str | Request, *, design: str = AUTO, partial: bool = True) -> Plan:
        """Compile a request into a proved plan; the VM is asked questions only.

        Args:
            what: A tag, for everything that can be saved; or a request.
            design: A design's name, or `auto`.
            partial: For a tag: whether what cannot be saved may be left out; else that is refused, as
                `save` refuses it.

        Raises:
            BadInput: The request cannot be read, or the design is unknown.
            Refused: It cannot be done safely.
        """
        inspection = await self.inspect()
        if isinstance(what, str) and not partial:
            refuse_partial(inspection.facts, what)
        return compile_request(_read(what, inspection), inspection.facts, design)

    async def compare(  # noqa: PLR0913 - each is a wish of its own
        self,
        what: str | Request,
        *,
        designs: Iterable[str] = (),
        measure: bool = False,
        streams_to: str = "",
        repeat: int = 1,
        seed: int = 0,
        on_progress: OnProgress | None = None,
    ) -> tuple[DesignReport, ...]:
        """Compare designs for a request: what each sends, pauses, promises, and leaves where it fails.

        Args:
            what: A tag, for everything that can be saved; or a request.
            designs: Their names, or paths of design files; none: all that can be sent.
            measure: Whether each is run, measured and undone; the guest is paused each time.  Else the
                VM is asked questions only.
            streams_to: The folder for machine state in files while it is measured; empty: beside the
                file that the request names, else beside the first disk's image.
            repeat: How often each is measured, in rounds; `runs` of a report has them all.
            seed: What the order inside the rounds follows from.
            on_progress: Called with what is being measured.

        Raises:
            BadInput, Refused, CannotConnect: Nothing was made.
            RunFailed: A measured run failed; all of it is undone.
            UndoIncomplete, OutcomeUnknown: Something is left; the problems say what.
        """
        read = _read(what, await self._seen(what))
        names = tuple(designs) or design_names("")
        wish = CompareWish(read, names, measure, streams_to, repeat, seed)
        return await compare(telling(self._context, on_progress), wish)

    async def check_save(self, plan: Plan, *, pause_budget_ms: float | None = None) -> None:
        """Look whether a plan could be run now: also at what is recorded, which no plan knows of.

        Raises:
            Refused, VmChanged: It could not; the VM was asked questions only.
        """
        await check_save(self._context, plan, Limits(pause_budget_ms=pause_budget_ms))

    async def save(  # noqa: PLR0913 - each is a wish of its own
        self,
        what: str | Request | Plan,
        *,
        description: str = "",
        design: str = AUTO,
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
        pause_budget_ms: float | None = None,
        partial: bool = False,
    ) -> Snapshot:
        """Take a snapshot, or leave the VM as it was.

        Args:
            what: A tag, for everything, the machine state too; a request; or a plan.
            description: For a tag: what is to be said of it; a request has one of its own.
            design: For a tag or a request: a design's name, or `auto`.
            on_progress: Called with each phase, each step before it is sent, and bytes meanwhile.
            deadline_s: How long any step may take, in seconds, in place of each step's own deadline.
            pause_budget_ms: The longest that the guest may stand still, in milliseconds.
            partial: For a tag: whether what cannot be saved may be left out, the machine state or a
                disk; else that is refused (``partial``).

        Returns:
            The snapshot; the guest runs on as it did, unless the request says otherwise.

        Raises:
            BadInput, Refused, VmChanged, CannotConnect: Nothing but questions was sent.
            RunFailed: A step failed; all of it is undone, and the guest runs as before.
            UndoIncomplete, OutcomeUnknown: Something is left; the problems say what, `recover` ends it.
        """
        source: Plan | ReadRequest
        source = (
            what
            if isinstance(what, Plan)
            else await self.request(what, description, partial=partial)
        )
        limits = Limits(deadline_s, pause_budget_ms)
        saved = await save(telling(self._context, on_progress), source, design, limits)
        saved.outcome.raise_failure()
        return await self.snapshot(saved.plan.request.tag)

    async def join_huge_pages(self) -> Joined:
        """Have Linux join QEMU's memory into huge pages, while the guest runs (about 0.3 s a GiB).

        A background capture splits them, and the next one pauses the guest the longer for it.  Wants
        Linux 6.1 and, as root has them, CAP_SYS_NICE and leave to trace QEMU.

        Returns:
            What was joined; where it cannot be done, `Joined.note` says why, and nothing is raised.
        """
        return await join_memory(self._context.backend)

    async def snapshots(self) -> tuple[Snapshot, ...]:
        """Every snapshot that the store has for this VM or that its disks hold, in order of tag."""
        listed = await list_snapshots(self._context)
        return tuple(snapshot_of(each, self._context) for each in listed.holdings)

    async def snapshot(self, tag: str) -> Snapshot:
        """The snapshot of a tag.

        Raises:
            BadInput: There is none (``snapshot-unknown``).
        """
        for each in (await list_snapshots(self._context, tag)).holdings:
            return snapshot_of(each, self._context)
        problem = Problem("snapshot-unknown", tag, "the VM has no snapshot of this tag")
        raise BadInput.of(problem)

    async def adopt(self, tag: str, *, exclude: Iterable[str] = ()) -> Snapshot:
        """Record a snapshot that another tool made inside this VM's images; no disk is changed.

        Args:
            tag: What it is called on the disks.
            exclude: Writable disks that are no part of it.

        Raises:
            BadInput: No disk holds it, or a name means no disk.
            Refused: It is recorded already, or it is no snapshot of one instant.
        """
        await adopt(self._context, tag, tuple(exclude))
        return await self.snapshot(tag)

    async def pending(self) -> tuple[Pending, ...]:
        """The runs on this VM that did not end, and that `recover` would; nothing is changed."""
        return tuple(await pending_of(self._context))

    async def recover(self, *, on_progress: OnProgress | None = None) -> tuple[Recovered, ...]:
        """Finish or undo what an interrupted run left on this VM.

        Returns:
            What became of each run; empty: nothing was pending.

        Raises:
            UndoIncomplete, OutcomeUnknown: Something is still there, or cannot be known.
        """
        recovered = tuple(await recover(telling(self._context, on_progress)))
        raise_left(recovered)
        return recovered

    async def restore(
        self,
        plan: RestorePlan,
        *,
        run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE,
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
    ) -> str:
        """Give this VM, a QEMU that was just started on disks made ready, the state of the snapshot.

        Args:
            plan: Of `snapplan.prepare_restore`; QEMU was started with its disks and its arguments.
            run_state_after: ``paused``, or else the guest runs.
            on_progress: Called with what is being done.
            deadline_s: How long it may take, in seconds; None: an hour.

        Returns:
            The run state.

        Raises:
            Refused: It is not the VM that was saved, or not on these disks; it was asked only.
            RunFailed: It did not take the state.  The guest has not run: end this QEMU.
        """
        wish = RestoreWish(run_state_after=RunStateAfter(run_state_after), deadline_s=deadline_s)
        return await restore_into(telling(self._context, on_progress), plan, wish)

    async def collect(self, *, dry_run: bool = False) -> Collected:
        """Remove what no snapshot of this VM needs any more.

        Args:
            dry_run: Whether it is looked for only.

        Raises:
            Refused: Another snapplan is at work on the VM.
            RunFailed, BadInput: Not all of it could be removed; the guest was not touched.
        """
        return await (look_for_garbage if dry_run else collect)(self._context)

    async def request(
        self, what: str | Request, description: str = "", *, partial: bool = False
    ) -> ReadRequest:
        """A request as it is read: a tag stands for everything that can be saved.

        Raises:
            Refused: A tag, and not everything can be, and that is not agreed to (`partial`).
        """
        seen = await self._seen(what)
        if seen is not None and isinstance(what, str) and not partial:
            refuse_partial(seen.facts, what)
        return _read(what, seen, description)

    async def _seen(self, what: str | Request) -> Inspection | None:
        return await self.inspect() if isinstance(what, str) else None


def _read(what: str | Request, seen: Inspection | None, description: str = "") -> ReadRequest:
    """A request that is an object is checked as one from a file is; a tag stands for all that can be."""
    if isinstance(what, Request):
        return check_request(what)
    if seen is None:
        raise InternalError("a tag is a request for a VM that is known")
    return check_request(evolve(seen.draft(what), description=description))
