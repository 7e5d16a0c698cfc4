"""A VM that is attached, for tools that have no event loop; `snapplan.sync` gives it."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from attrs import define, evolve, field, frozen

from planner.compare.comparison import DesignReport
from planner.compile.designs import AUTO
from planner.compile.plan import Plan
from planner.inspect.inspecting import Inspection
from planner.library.attaching import Attachment as AsyncAttachment
from planner.library.loop import Loop, OtherLoop
from planner.library.progress import OnProgress
from planner.library.sync_snapshot import Snapshot
from planner.library.vm import Vm as AsyncVm
from planner.load.fresh_qemu import RestorePlan
from planner.model.request import Request, RunStateAfter
from planner.recover.recovery import Pending, Recovered
from planner.verbs.collect import Collected
from planner.verbs.huge_pages import Joined

__all__ = ["Attachment", "Vm"]


@define
class Attachment:
    """A connection that lasts as long as a ``with``."""

    _attachment: AsyncAttachment
    _loop: Loop | None = field(init=False, default=None)

    def __enter__(self) -> Vm:
        """Connect; the VM is asked nothing yet."""
        self._loop = Loop()
        try:
            return Vm(self._loop.do(self._attachment.__aenter__()), self._loop)
        except BaseException:
            self._loop.end()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the connection; the VM goes on."""
        if self._loop is None:
            return
        try:
            self._loop.do(self._attachment.__aexit__(kind, error, trace))
        finally:
            self._loop.end()


@frozen
class Vm:
    """A running VM that is attached; each method is that of `planner.library.vm.Vm`, and blocks."""

    _vm: AsyncVm
    _loop: Loop = field(repr=False)

    @property
    def elsewhere(self) -> AsyncVm:
        """The same VM for work in another loop: that of a group has one for all its members."""
        context = self._vm.context
        return AsyncVm(evolve(context, backend=OtherLoop(context.backend, self._loop)))

    def inspect(self) -> Inspection:
        """Ask the VM what it is, and what each of its disks can do."""
        return self._loop.do(self._vm.inspect())

    def plan(self, what: str | Request, *, design: str = AUTO, partial: bool = True) -> Plan:
        """Compile a request into a proved plan; the VM is asked questions only."""
        return self._loop.do(self._vm.plan(what, design=design, partial=partial))

    def compare(  # noqa: PLR0913 - each is a wish of its own
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
        """Compare designs for a request: what each sends, pauses, promises, and leaves."""
        comparing = self._vm.compare(
            what,
            designs=designs,
            measure=measure,
            streams_to=streams_to,
            repeat=repeat,
            seed=seed,
            on_progress=on_progress,
        )
        return self._loop.do(comparing)

    def restore(
        self,
        plan: RestorePlan,
        *,
        run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE,
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
    ) -> str:
        """Give this VM, just started on disks made ready, the state of the snapshot."""
        restoring = self._vm.restore(
            plan,
            run_state_after=run_state_after,
            on_progress=on_progress,
            deadline_s=deadline_s,
        )
        return self._loop.do(restoring)

    def collect(self, *, dry_run: bool = False) -> Collected:
        """Remove what no snapshot of this VM needs any more."""
        return self._loop.do(self._vm.collect(dry_run=dry_run))

    def check_save(self, plan: Plan, *, pause_budget_ms: float | None = None) -> None:
        """Look whether a plan could be run now."""
        self._loop.do(self._vm.check_save(plan, pause_budget_ms=pause_budget_ms))

    def save(  # noqa: PLR0913 - each is a wish of its own
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
        """Take a snapshot, or leave the VM as it was."""
        saving = self._vm.save(
            what,
            description=description,
            design=design,
            on_progress=on_progress,
            deadline_s=deadline_s,
            pause_budget_ms=pause_budget_ms,
            partial=partial,
        )
        return Snapshot(self._loop.do(saving), self._loop)

    def join_huge_pages(self) -> Joined:
        """Have Linux join QEMU's memory into huge pages, while the guest runs."""
        return self._loop.do(self._vm.join_huge_pages())

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Every snapshot that the store has for this VM or that its disks hold, in order of tag."""
        return tuple(Snapshot(each, self._loop) for each in self._loop.do(self._vm.snapshots()))

    def snapshot(self, tag: str) -> Snapshot:
        """The snapshot of a tag."""
        return Snapshot(self._loop.do(self._vm.snapshot(tag)), self._loop)

    def adopt(self, tag: str, *, exclude: Iterable[str] = ()) -> Snapshot:
        """Record a snapshot that another tool made inside this VM's images; no disk is changed."""
        return Snapshot(self._loop.do(self._vm.adopt(tag, exclude=exclude)), self._loop)

    def pending(self) -> tuple[Pending, ...]:
        """The runs on this VM that did not end, and that `recover` would."""
        return self._loop.do(self._vm.pending())

    def recover(self, *, on_progress: OnProgress | None = None) -> tuple[Recovered, ...]:
        """Finish or undo what an interrupted run left on this VM."""
        return self._loop.do(self._vm.recover(on_progress=on_progress))
