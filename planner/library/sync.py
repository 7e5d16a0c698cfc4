"""The blocking twin of `snapplan.attach`, for tools that have no event loop.

    import snapplan

    with snapplan.sync.attach("/run/vm/snapplan.sock") as vm:
        snapshot = vm.save("before")
        snapshot.load()
        snapshot.delete()

A loop runs in a thread of its own, for as long as the ``with`` lasts.  Ctrl-C in a method undoes what it
had begun; then `KeyboardInterrupt` is raised.  Callbacks are called in that thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from attrs import define, field, frozen

from planner.compare.comparison import DesignReport
from planner.compile.designs import AUTO
from planner.compile.plan import Plan
from planner.delete.delete_checks import Overlays
from planner.inspect.inspecting import Inspection
from planner.library import stores
from planner.library.attaching import Attachment as AsyncAttachment
from planner.library.attaching import attach as attach_async
from planner.library.progress import OnProgress
from planner.library.stores import Folder
from planner.library.vm import Snapshot as AsyncSnapshot
from planner.library.vm import Vm as AsyncVm
from planner.model.request import Request, RunStateAfter
from planner.parts.holdings import Standing
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart
from planner.present.verdict_view import Verdict
from planner.recover.recovery import Recovered
from planner.run.outcome import Outcome
from planner.verbs.collect import Collected

__all__ = ["Attachment", "Snapshot", "Vm", "attach", "collect", "recover"]

_Result = TypeVar("_Result")


def attach(
    qmp: str | Path, *, store: Folder = None, backend: str = "", address: str = ""
) -> Attachment:
    """Attach to a VM, for as long as a ``with`` lasts; see `snapplan.attach`.

    Args:
        qmp: An address.  A connected client belongs to the loop that it was made in, so it is for
            `snapplan.attach` alone.
        store: The folder of manifests and journals; None: as `snapplan.attach` says.
        backend: The name of the backend that an address is for.
        address: What is recorded as the VM's address; empty: `qmp`.
    """
    return Attachment(attach_async(qmp, store=store, backend=backend, address=address))


def recover(
    address: str | Path, *, store: Folder = None, on_progress: OnProgress | None = None
) -> tuple[Recovered, ...]:
    """Finish or undo what an interrupted run left on a VM; see `snapplan.recover`."""
    return _once(stores.recover(address, store=store, on_progress=on_progress))


def collect(store: Folder = None, *, dry_run: bool = False) -> Collected:
    """Remove what no snapshot of any VM of a store needs; see `snapplan.collect`."""
    return _once(stores.collect(store, dry_run=dry_run))


def _once(work: Coroutine[Any, Any, _Result]) -> _Result:
    loop = _Loop()
    try:
        return loop.do(work)
    finally:
        loop.end()


async def _started(work: Coroutine[Any, Any, _Result]) -> asyncio.Task[_Result]:
    return asyncio.get_running_loop().create_task(work)


@define
class _Loop:
    """An event loop in a thread of its own."""

    _loop: asyncio.AbstractEventLoop = field(factory=asyncio.new_event_loop)
    _thread: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._loop.run_forever, name="snapplan", daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        """Do it there, and wait for it; whatever interrupts the waiting is a wish to stop."""
        task = asyncio.run_coroutine_threadsafe(_started(work), self._loop).result()
        ended = threading.Event()
        self._loop.call_soon_threadsafe(task.add_done_callback, lambda _: ended.set())
        interrupt: BaseException | None = None
        while not ended.is_set():
            try:
                ended.wait()
            except BaseException as error:  # noqa: BLE001 - Ctrl-C, most of all: first it is undone
                interrupt = error
                self._loop.call_soon_threadsafe(task.cancel)
        if interrupt is not None:
            raise interrupt
        return task.result()

    def end(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@define
class Attachment:
    """A connection that lasts as long as a ``with``."""

    _attachment: AsyncAttachment
    _loop: _Loop | None = field(init=False, default=None)

    def __enter__(self) -> Vm:
        """Connect; the VM is asked nothing yet."""
        self._loop = _Loop()
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
    _loop: _Loop = field(repr=False)

    def inspect(self) -> Inspection:
        """Ask the VM what it is, and what each of its disks can do."""
        return self._loop.do(self._vm.inspect())

    def plan(self, what: str | Request, *, design: str = AUTO) -> Plan:
        """Compile a request into a proved plan; the VM is asked questions only."""
        return self._loop.do(self._vm.plan(what, design=design))

    def compare(
        self,
        what: str | Request,
        *,
        designs: Iterable[str] = (),
        measure: bool = False,
        streams_to: str = "",
        on_progress: OnProgress | None = None,
    ) -> tuple[DesignReport, ...]:
        """Compare designs for a request: what each sends, pauses, promises, and leaves."""
        comparing = self._vm.compare(
            what,
            designs=designs,
            measure=measure,
            streams_to=streams_to,
            on_progress=on_progress,
        )
        return self._loop.do(comparing)

    def collect(self, *, dry_run: bool = False) -> Collected:
        """Remove what no snapshot of this VM needs any more."""
        return self._loop.do(self._vm.collect(dry_run=dry_run))

    def save(
        self,
        what: str | Request | Plan,
        *,
        design: str = AUTO,
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
        pause_budget_ms: float | None = None,
    ) -> Snapshot:
        """Take a snapshot, or leave the VM as it was."""
        saving = self._vm.save(
            what,
            design=design,
            on_progress=on_progress,
            deadline_s=deadline_s,
            pause_budget_ms=pause_budget_ms,
        )
        return Snapshot(self._loop.do(saving), self._loop)

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Every snapshot that the store has for this VM or that its disks hold, in order of tag."""
        return tuple(Snapshot(each, self._loop) for each in self._loop.do(self._vm.snapshots()))

    def snapshot(self, tag: str) -> Snapshot:
        """The snapshot of a tag."""
        return Snapshot(self._loop.do(self._vm.snapshot(tag)), self._loop)

    def adopt(self, tag: str, *, exclude: Iterable[str] = ()) -> Snapshot:
        """Record a snapshot that another tool made inside this VM's images; no disk is changed."""
        return Snapshot(self._loop.do(self._vm.adopt(tag, exclude=exclude)), self._loop)

    def recover(self, *, on_progress: OnProgress | None = None) -> tuple[Recovered, ...]:
        """Finish or undo what an interrupted run left on this VM."""
        return self._loop.do(self._vm.recover(on_progress=on_progress))


@frozen
class Snapshot:
    """A snapshot of a VM; each method is that of `planner.library.vm.Snapshot`, and blocks.

    Attributes:
        asynchronous: The same for use in a loop.
    """

    asynchronous: AsyncSnapshot
    _loop: _Loop = field(repr=False, eq=False)

    @property
    def tag(self) -> str:
        """Its name."""
        return self.asynchronous.tag

    @property
    def standing(self) -> Standing:
        """Whether it is whole."""
        return self.asynchronous.standing

    @property
    def manifest(self) -> Manifest | None:
        """Its record; None: it is not snapplan's."""
        return self.asynchronous.manifest

    @property
    def parts(self) -> tuple[ManifestPart, ...]:
        """Its parts, as recorded."""
        return self.asynchronous.parts

    @property
    def taken_at(self) -> datetime | None:
        """When it was taken."""
        return self.asynchronous.taken_at

    @property
    def has_machine_state(self) -> bool:
        """Whether the guest goes on from it where it was."""
        return self.asynchronous.has_machine_state

    def load(  # noqa: PLR0913 - each is a wish of its own
        self,
        *,
        run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE,
        keep_current: str = "",
        accept_changed: Iterable[str] = (),
        accept_cpu: bool = False,
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Go back to it: every disk and the machine state, or nothing."""
        return self._loop.do(
            self.asynchronous.load(
                run_state_after=run_state_after,
                keep_current=keep_current,
                accept_changed=accept_changed,
                accept_cpu=accept_cpu,
                on_progress=on_progress,
                deadline_s=deadline_s,
            )
        )

    def verify(self) -> Verdict:
        """Compare it with its record."""
        return self._loop.do(self.asynchronous.verify())

    def delete(
        self, *, overlays: Overlays | str | None = None, on_progress: OnProgress | None = None
    ) -> None:
        """Delete it: each part by id and name, its record last; the guest runs on."""
        self._loop.do(self.asynchronous.delete(overlays=overlays, on_progress=on_progress))
