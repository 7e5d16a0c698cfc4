"""A snapshot for tools that have no event loop; `snapplan.sync` gives it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from attrs import evolve, field, frozen

from planner.delete.delete_checks import Overlays
from planner.errors import Problem
from planner.library.loop import Loop
from planner.library.progress import OnProgress
from planner.library.snapshot import Snapshot as AsyncSnapshot
from planner.library.sync_clones import Clone, Pool
from planner.model.request import RunStateAfter
from planner.parts.holdings import Standing
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart
from planner.parts.template import Template
from planner.present.verdict_view import Verdict
from planner.run.outcome import Outcome

__all__ = ["Snapshot"]


@frozen
class Snapshot:
    """A snapshot of a VM; each method is that of `planner.library.snapshot.Snapshot`, and blocks.

    Attributes:
        asynchronous: The same for use in a loop.
    """

    asynchronous: AsyncSnapshot
    _loop: Loop = field(repr=False, eq=False)

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
    def description(self) -> str:
        """What its user says of it."""
        return self.asynchronous.description

    @property
    def parent(self) -> str | None:
        """The tag of the snapshot that it was taken after; None: there is none."""
        return self.asynchronous.parent

    @property
    def current(self) -> bool:
        """Whether the VM was last loaded from it, or saved as it."""
        return self.asynchronous.current

    @property
    def findings(self) -> tuple[Problem, ...]:
        """What is wrong with it."""
        return self.asynchronous.findings

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
        reset: bool = False,
        alone: bool = False,
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
                reset=reset,
                alone=alone,
                on_progress=on_progress,
                deadline_s=deadline_s,
            )
        )

    def check_load(  # noqa: PLR0913 - those of `load`
        self,
        *,
        run_state_after: RunStateAfter | str = RunStateAfter.AS_BEFORE,
        keep_current: str = "",
        accept_changed: Iterable[str] = (),
        accept_cpu: bool = False,
        reset: bool = False,
        alone: bool = False,
    ) -> str:
        """Look whether `load` could be done, and say what it would do."""
        return self._loop.do(
            self.asynchronous.check_load(
                run_state_after=run_state_after,
                keep_current=keep_current,
                accept_changed=accept_changed,
                accept_cpu=accept_cpu,
                reset=reset,
                alone=alone,
            )
        )

    @property
    def template(self) -> Template | None:
        """What it was made ready with for instant restore; None: it was not."""
        return self.asynchronous.template

    def make_template(  # noqa: PLR0913 - each is a wish of its own
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
        """Make it ready for instant restore; the snapshot with its template."""
        made = self._loop.do(
            self.asynchronous.make_template(
                command,
                folder=folder,
                qmp=qmp,
                replace=replace,
                accept_changed=accept_changed,
                accept_cpu=accept_cpu,
                on_progress=on_progress,
                deadline_s=deadline_s,
            )
        )
        return evolve(self, asynchronous=made)

    def drop_template(self) -> Snapshot:
        """Take its template away; the snapshot without it."""
        dropped = self._loop.do(self.asynchronous.drop_template())
        return evolve(self, asynchronous=dropped)

    def verify(self) -> Verdict:
        """Compare it with its record."""
        return self._loop.do(self.asynchronous.verify())

    def clone(self, command: str | Sequence[str] = "", *, paused: bool = False) -> Clone:
        """A VM that goes on from its template, for as long as a ``with`` lasts."""
        return Clone(self.asynchronous.clone(command, paused=paused), None)

    def pool(
        self, command: str | Sequence[str] = "", *, spares: int = 1, paused: bool = False
    ) -> Pool:
        """The same any number of times, with QEMUs that wait."""
        return Pool(self.asynchronous.pool(command, spares=spares, paused=paused))

    def delete(
        self,
        *,
        overlays: Overlays | str | None = None,
        alone: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Delete it: each part by id and name, its record last; the guest runs on."""
        deleting = self.asynchronous.delete(overlays=overlays, alone=alone, on_progress=on_progress)
        self._loop.do(deleting)

    def check_delete(self, *, overlays: Overlays | str | None = None, alone: bool = False) -> str:
        """Look whether `delete` could be done, and say what it would do."""
        return self._loop.do(self.asynchronous.check_delete(overlays=overlays, alone=alone))
