"""A snapshot of a VM, as a tool holds it; the rules are those of `planner.library.vm`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from planner.delete.delete_checks import Overlays
from planner.errors import Problem
from planner.library.progress import OnProgress, ProgressReporter
from planner.library.templates import drop_template as drop_template_of
from planner.library.templates import make_template as make_template_of
from planner.model.request import RunStateAfter
from planner.parts.accepting import Accepted
from planner.parts.holdings import Holding, Standing
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart
from planner.parts.template import Template
from planner.present.delete_view import intent_text
from planner.present.load_view import load_intent_text
from planner.present.verdict_view import Verdict
from planner.run.outcome import Outcome
from planner.store.meeting import meet
from planner.verbs.context import Context
from planner.verbs.delete import check_delete, delete
from planner.verbs.load import LoadWish, check_load, load
from planner.verbs.verify import verify

if TYPE_CHECKING:
    from planner.library.clones import Clone, Pool

__all__ = ["Snapshot", "snapshot_of", "telling"]


@frozen
class Snapshot:
    """A snapshot of a VM, as it was when it was looked at.

    Attributes:
        tag: Its name.
        standing: Whether it is whole.
        manifest: Its record; None: it is not snapplan's, and can be looked at only.
        parent: The tag of the snapshot that it was taken after, the nearest that is still there; None:
            there is none, or nobody wrote it down.
        current: Whether the VM was last loaded from it, or saved as it.
        findings: What is wrong with it; empty: nothing.
    """

    tag: str
    standing: Standing
    manifest: Manifest | None = field(repr=False)
    parent: str | None
    current: bool
    findings: tuple[Problem, ...]
    _context: Context = field(repr=False, eq=False)

    @property
    def description(self) -> str:
        """What its user says of it."""
        return "" if self.manifest is None else self.manifest.description

    @property
    def parts(self) -> tuple[ManifestPart, ...]:
        """Its parts, as recorded; empty where it is not."""
        return () if self.manifest is None else self.manifest.parts

    @property
    def taken_at(self) -> datetime | None:
        """When it was taken (UTC, by the host's clock); None where it is not recorded."""
        if self.manifest is None or not self.manifest.ended_ns:
            return None
        return datetime.fromtimestamp(self.manifest.ended_ns / 1e9, tz=UTC)

    @property
    def has_machine_state(self) -> bool:
        """Whether the guest goes on from it where it was; without, it starts as after a power cut."""
        return self.manifest is not None and self.manifest.vmstate is not None

    @property
    def template(self) -> Template | None:
        """What it was made ready with for instant restore (`make_template`); None: it was not."""
        return None if self.manifest is None else self.manifest.template

    async def make_template(  # noqa: PLR0913 - each is a wish of its own
        self,
        command: str | Sequence[str],
        *,
        folder: str | Path = "",
        qmp: str | Path = "",
        replace: bool = False,
        accept_changed: Iterable[str] = (),
        accept_cpu: bool = False,
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
    ) -> Snapshot:
        """Make it ready for instant restore; this VM is not touched, and may run on.

        A QEMU of its own reads the snapshot once into files, without its guest running; the snapshot is
        never opened for writing.  Parts inside an image are copied: no VM may have that image open.

        Args:
            command: The VM's command line, as `planner.library.templates.make_template` takes it; so are
                the others.
            folder: Where the template's files are to be; empty: beside the machine state.
            qmp: Where the QEMU that makes it listens; empty: in a folder of snapplan's own.
            replace: Whether a template that is there goes when the new one is complete.
            accept_changed: Disks that were left out of the snapshot and may have changed since.
            accept_cpu: Whether the processor may be another one.
            on_progress: Called with each step before it is done.
            deadline_s: How long QEMU may take to read the state, in seconds; None: an hour.

        Returns:
            The snapshot with its template.

        Raises:
            BadInput, Refused, RunFailed, UndoIncomplete: As `planner.library.templates` says; nothing is
                left but what the last one names, and the snapshot is as it was.
        """
        manifest = await make_template_of(
            await _file_of(self),
            command,
            folder=folder,
            qmp=qmp,
            store=self._context.store.root,
            replace=replace,
            accept_changed=accept_changed,
            accept_cpu=accept_cpu,
            on_progress=on_progress,
            deadline_s=deadline_s,
        )
        return evolve(self, manifest=manifest)

    async def drop_template(self) -> Snapshot:
        """Take its template away; the snapshot stays.

        Returns:
            The snapshot without it.

        Raises:
            BadInput: It has no template.
            Refused: A QEMU has a file of it open, or a restore lies on it (``template-in-use``).
        """
        store = self._context.store.root
        manifest = await drop_template_of(await _file_of(self), store=store)
        return evolve(self, manifest=manifest)

    async def load(  # noqa: PLR0913 - each is a wish of its own
        self,
        *,
        run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE,
        keep_current: str = "",
        accept_changed: Iterable[str] = (),
        accept_cpu: bool = False,
        reset: bool = False,
        alone: bool = False,
        on_progress: OnProgress | None = None,
        deadline_s: float | None = None,
    ) -> Outcome:
        """Go back to it: every disk and the machine state, or nothing.

        What would be done without doing it says `check_load`.

        Args:
            run_state_after: ``as-before`` (the load), ``running`` or ``paused``.
            keep_current: A tag under which what is there now is saved first; empty: it is lost.
            accept_changed: Disks that were left out of it and may have changed since.
            accept_cpu: Whether the processor may be another one.
            reset: Whether the VM may be reset first, where QEMU lets no guest run else; what its guest
                has in memory is lost then, also where the load fails.
            alone: Whether it may be a member's of a group, and the others stay as they are.
            on_progress: Called with each phase, each step before it is sent, and bytes meanwhile.
            deadline_s: How long the load may take, in seconds.

        Raises:
            Refused: It cannot be loaded safely; nothing was touched.
            RunFailed: It failed before a disk was reverted; the VM is as it was.
            UndoIncomplete, OutcomeUnknown: It failed later; the VM is stopped, and the problems say
                which disks were reverted.
        """
        wish = LoadWish(
            RunStateAfter(run_state_after),
            deadline_s,
            keep_current,
            Accepted(accept_cpu, frozenset(accept_changed)),
            reset,
            alone,
        )
        loaded = await load(telling(self._context, on_progress), self.tag, wish)
        loaded.outcome.raise_failure()
        return loaded.outcome

    async def check_load(  # noqa: PLR0913 - those of `load`
        self,
        *,
        run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE,
        keep_current: str = "",
        accept_changed: Iterable[str] = (),
        accept_cpu: bool = False,
        reset: bool = False,
        alone: bool = False,
    ) -> str:
        """Look whether `load` could be done, and say what it would do; the VM is asked questions only.

        Raises:
            Refused: It could not.
        """
        wish = LoadWish(
            RunStateAfter(run_state_after),
            keep=keep_current,
            accepted=Accepted(accept_cpu, frozenset(accept_changed)),
            reset=reset,
            alone=alone,
        )
        return load_intent_text(await check_load(self._context, self.tag, wish))

    async def verify(self) -> Verdict:
        """Compare it with its record: every part, once, of one instant, on the same machine.

        Returns:
            What was found; `Verdict.findings` is empty where it is whole.
        """
        return await verify(self._context, self.tag)

    def clone(self, command: str | Sequence[str] = "", *, paused: bool = False) -> Clone:
        """A VM that goes on from its template, for as long as an ``async with`` lasts.

        Args:
            command: QEMU's command line with its places; empty: the template's own.
            paused: Whether its guest is to stay paused.

        Raises:
            Refused: It has no template (``template-missing``).
        """
        from planner.library.clones import clone  # noqa: PLC0415 - it has the Vm, which has this

        return clone(self._source, command, store=self._context.store, paused=paused)

    def pool(
        self, command: str | Sequence[str] = "", *, spares: int = 1, paused: bool = False
    ) -> Pool:
        """The same any number of times, with QEMUs that wait; see `snapplan.pool`."""
        from planner.library.clones import pool  # noqa: PLC0415 - likewise

        store = self._context.store
        return pool(self._source, command, spares=spares, store=store, paused=paused)

    @property
    def _source(self) -> str:
        """Its record's file: other VMs may have a snapshot of this tag."""
        if self.manifest is None:
            return self.tag
        for vm in self._context.store.vms():
            if vm.manifest(self.tag) == self.manifest:
                return str(vm.manifest_path(self.tag))
        return self.tag

    async def delete(
        self,
        *,
        overlays: Overlays | str | None = None,
        alone: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Delete it: each part by id and name, its record last; the guest runs on.

        Args:
            overlays: Where it has overlays: ``commit`` merges them into the frozen images, ``keep``
                leaves them.
            alone: Whether it may be a member's of a group, and the others keep theirs.
            on_progress: Called with each phase, each step before it is sent, and bytes meanwhile.

        Raises:
            Refused: Another snapshot needs a part, or a part is not what was recorded.
            RunFailed: Not all of it could be deleted; the problems say what is left.
        """
        choice = None if overlays is None else Overlays(overlays)
        context = telling(self._context, on_progress)
        deleted = await delete(context, self.tag, choice, alone=alone)
        deleted.outcome.raise_failure()

    async def check_delete(
        self, *, overlays: Overlays | str | None = None, alone: bool = False
    ) -> str:
        """Look whether `delete` could be done, and say what it would do; nothing is changed.

        Raises:
            Refused: It could not.
        """
        choice = None if overlays is None else Overlays(overlays)
        return intent_text(await check_delete(self._context, self.tag, choice, alone=alone))


async def _file_of(snapshot: Snapshot) -> str:
    """The file of its record: a tag alone may be another VM's too."""
    context = snapshot._context  # noqa: SLF001 - of this module
    met = await meet(context.backend, context.store, context.address)
    return str(met.vm.manifest_path(snapshot.tag))


def telling(context: Context, on_progress: OnProgress | None) -> Context:
    """The same context, whose progress a tool is told."""
    if on_progress is None:
        return context
    return evolve(context, reporter=ProgressReporter(on_progress))


def snapshot_of(holding: Holding, context: Context) -> Snapshot:
    """What was found of a snapshot, as a tool holds it."""
    return Snapshot(
        holding.tag,
        holding.standing,
        holding.manifest,
        holding.parent or None,
        holding.current,
        holding.findings,
        context,
    )
