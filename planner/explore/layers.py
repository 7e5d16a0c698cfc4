"""The images of a VM, as numbers: each different `Qcow2Image` of the semantics is met once and numbered.

What happens to an image is what `planner.semantics.qcow2` says, remembered by number, so that a
search over millions of states does each piece of image work once.

Rules: numbers are given in the order of discovery, which the search makes the same every time.  The
guest's instants stand for clocks: two parts have one vm-clock exactly if they have one instant.
Who made a snapshot is told by its date: even is the run's own, odd another client's, zero older than
the run.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from planner.semantics import LayerSnapshot, Qcow2Image, Vmstate, qcow2

__all__ = ["PARTIAL", "TAG", "Layers", "is_own", "own_parts"]

TAG = "tag"
"""The new snapshot's name in the model, whatever the request calls it."""

PARTIAL = Vmstate(-1, -1)
"""Vmstate whose writing failed half way."""


def is_own(snapshot: LayerSnapshot) -> bool:
    """Whether the run made it."""
    return snapshot.name == TAG and snapshot.date_ns > 0 and snapshot.date_ns % 2 == 0


def own_parts(layer: Qcow2Image) -> list[LayerSnapshot]:
    """The snapshots that the run made."""
    return [snapshot for snapshot in layer.snapshots if is_own(snapshot)]


class Layers:
    """The numbered layers."""

    def __init__(self) -> None:
        self._numbers: dict[Qcow2Image, int] = {}
        self._layers: list[Qcow2Image] = []
        self._known: dict[tuple[object, ...], int] = {}

    def __getitem__(self, number: int) -> Qcow2Image:
        return self._layers[number]

    def number(self, layer: Qcow2Image) -> int:
        """The number of a layer, a new one for a new layer."""
        found = self._numbers.setdefault(layer, len(self._layers))
        if found == len(self._layers):
            self._layers.append(layer)
        return found

    def _remembered(
        self, what: tuple[object, ...], number: int, make: Callable[[Qcow2Image], Qcow2Image]
    ) -> int:
        key = (number, *what)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self.number(make(self._layers[number]))
        return found

    def written(self, number: int, version: int) -> int:
        """The guest has written to the disk."""
        return self._remembered(
            ("guest", version), number, lambda layer: evolve(layer, content=version)
        )

    def overlaid(self, number: int) -> int:
        """A new overlay on the image: it reads the same, and holds nothing of its own."""
        return self._remembered(
            ("overlay",), number, lambda layer: Qcow2Image(content=layer.content)
        )

    def committed(self, base: int, overlay: int) -> int:
        """The image, once its overlay was merged into it."""
        content = self._layers[overlay].content
        return self._remembered(
            ("commit", content), base, lambda layer: evolve(layer, content=content)
        )

    def with_vmstate(self, number: int, instant: int) -> int:
        """Machine state of an instant is in the active layer; instant -1: only a part of it."""
        vmstate = Vmstate(instant, instant)
        return self._remembered(
            ("write", instant), number, lambda layer: qcow2.write_vmstate(layer, vmstate)
        )

    def with_vmstate_in_snapshot(self, number: int, instant: int) -> int | None:
        """Machine state is in the snapshot that the run took; None where it took none."""
        if not own_parts(self._layers[number]):
            return None

        def write(layer: Qcow2Image) -> Qcow2Image:
            size = 0 if instant < 0 else 1
            filled = tuple(
                evolve(s, vmstate=Vmstate(instant, instant), vm_state_size_bytes=size)
                if is_own(s)
                else s
                for s in layer.snapshots
            )
            return evolve(layer, snapshots=filled)

        return self._remembered(("post", instant), number, write)

    def snapshotted(self, number: int, instant: int, date: int, size: int) -> int:
        """A snapshot of the tag is taken."""
        return self._remembered(
            ("snapshot", instant, date, size),
            number,
            lambda layer: qcow2.create_snapshot(
                layer,
                TAG,
                instant=instant,
                vm_clock_ns=instant,
                vm_state_size_bytes=size,
                date_ns=date,
            )[0],
        )

    def discarded(self, number: int) -> int:
        """The vmstate leaves the active layer."""
        return self._remembered(("discard",), number, qcow2.discard_vmstate)

    def without(self, number: int, snapshot_id: str) -> int:
        """One snapshot is deleted, by its id."""

        def delete(layer: Qcow2Image) -> Qcow2Image:
            found = qcow2.find_by_id_and_name(layer, snapshot_id, None)
            return layer if found is None else qcow2.delete_snapshot(layer, found)

        return self._remembered(("delete", snapshot_id), number, delete)

    def without_first(self, number: int) -> int:
        """The first snapshot of the tag is deleted, if there is one."""

        def delete(layer: Qcow2Image) -> Qcow2Image:
            found = qcow2.find_by_name(layer, TAG)
            return layer if found is None else qcow2.delete_snapshot(layer, found)

        return self._remembered(("delete-first",), number, delete)

    def holds_tag(self, number: int) -> bool:
        """Whether the image holds a snapshot of the tag."""
        return qcow2.find_by_name(self._layers[number], TAG) is not None
