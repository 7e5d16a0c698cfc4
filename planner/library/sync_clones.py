"""The blocking twins of `snapplan.clone` and `snapplan.pool`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from attrs import define, field

from planner.library import clones
from planner.library.loop import Loop
from planner.library.stores import Folder
from planner.template.clone_plan import Cloned

if TYPE_CHECKING:
    from planner.library.sync import Vm

__all__ = ["Clone", "Pool", "clone", "pool"]


def clone(
    source: str | Path,
    command: str | Sequence[str] = "",
    *,
    store: Folder = None,
    folder: str | Path = "",
    paused: bool = False,
) -> Clone:
    """A clone for as long as a ``with`` lasts; see `snapplan.clone`."""
    return Clone(clones.clone(source, command, store=store, folder=folder, paused=paused), None)


def pool(  # noqa: PLR0913 - each is a wish of its own
    source: str | Path,
    command: str | Sequence[str] = "",
    *,
    spares: int = 1,
    store: Folder = None,
    folder: str | Path = "",
    paused: bool = False,
) -> Pool:
    """Clones of one template, for as long as a ``with`` lasts; see `snapplan.pool`."""
    return Pool(
        clones.pool(source, command, spares=spares, store=store, folder=folder, paused=paused)
    )


@define
class Pool:
    """Clones of one template, with QEMUs that wait; its loop runs in a thread of its own."""

    _pool: clones.Pool
    _loop: Loop | None = field(init=False, default=None)

    def __enter__(self) -> Self:
        """Start the spares, and wait until they wait."""
        self._loop = Loop()
        try:
            self._loop.do(self._pool.__aenter__())
        except BaseException:
            self._loop.end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the spares."""
        if self._loop is None:
            return
        try:
            self._loop.do(self._pool.__aexit__(kind, error, trace))
        finally:
            self._loop.end()

    def clone(self) -> Clone:
        """The next clone: what ``with`` takes."""
        return Clone(self._pool.clone(), self._loop)


@define
class Clone:
    """A clone for as long as a ``with`` lasts."""

    _clone: clones.Clone
    _loop: Loop | None
    _own: Loop | None = field(init=False, default=None)

    @property
    def cloned(self) -> Cloned | None:
        """What it was started as, once it is entered."""
        return self._clone.cloned

    def __enter__(self) -> Vm:
        """Have it go on from the snapshot."""
        from planner.library.sync import Vm  # noqa: PLC0415 - it has these classes among its names

        loop = self._loop
        if loop is None:
            loop = self._own = self._loop = Loop()
        try:
            return Vm(loop.do(self._clone.__aenter__()), loop)
        except BaseException:
            if self._own is not None:
                self._own.end()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End its QEMU, and remove its overlays unless they are kept."""
        if self._loop is None:
            return
        try:
            self._loop.do(self._clone.__aexit__(kind, error, trace))
        finally:
            if self._own is not None:
                self._own.end()

    def keep(self) -> None:
        """Keep its overlays when it ends."""
        self._clone.keep()
