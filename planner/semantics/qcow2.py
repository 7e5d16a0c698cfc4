"""One image's layer: what is in it now, and the snapshots that it holds.

Theory: a snapshot of a qcow2 image shares the clusters of the *active layer*.  The machine state is
written into the active layer too, beyond the disk's end; a snapshot taken after that takes it along,
and the discard that follows frees only the active layer's side (fact 17).  So three small
operations, in an order, make a snapshot with machine state; torn apart they make the mistakes that
this project is about.  Contents are version counters: two equal numbers are the same bytes.

Rules: pure functions from a layer to a layer; the caller says which machine instant it is.
"""

from __future__ import annotations

from attrs import evolve, frozen

__all__ = [
    "Qcow2Image",
    "LayerSnapshot",
    "TAG_LIMIT_BYTES",
    "Vmstate",
    "create_snapshot",
    "delete_snapshot",
    "discard_vmstate",
    "find_by_id_and_name",
    "find_by_name",
    "goto_snapshot",
    "truncated",
    "wanted_snapshot",
    "write_vmstate",
]

TAG_LIMIT_BYTES = 255


@frozen(cache_hash=True)
class Vmstate:
    """Machine state as bytes in an image.

    Attributes:
        machine: Version of the machine that was saved.
        vm_clock_ns: The guest's clock at that instant.
        needs: Migration capabilities that were on, of those that a load wants as the save had them.
    """

    machine: int
    vm_clock_ns: int
    needs: tuple[str, ...] = ()


@frozen(cache_hash=True)
class LayerSnapshot:
    """One internal snapshot.

    Attributes:
        id: QEMU's identifier in the image.
        name: The tag.
        vm_clock_ns: The guest's clock when it was taken.
        vm_state_size_bytes: What the snapshot's header says; 0 for a part without machine state.
        content: Version of the disk's content in it.
        instant: Version of the machine at the moment it was taken: equal instants, one cut.
        vmstate: The machine state whose clusters it holds, whatever the header says.
        date_ns: Host clock when it was taken, since the epoch.
        size_bytes: Size of the disk when it was taken; 0: nobody knows.
    """

    id: str
    name: str
    vm_clock_ns: int
    vm_state_size_bytes: int
    content: int
    instant: int
    vmstate: Vmstate | None = None
    date_ns: int = 0
    size_bytes: int = 0


@frozen(cache_hash=True)
class Qcow2Image:
    """What one image holds.

    Attributes:
        content: Version of what the disk reads as.
        vmstate: Machine state in the active layer; there only between its write and its discard,
            after a failed save, and after a load.
        snapshots: The internal snapshots in the image's order.
    """

    content: int = 0
    vmstate: Vmstate | None = None
    snapshots: tuple[LayerSnapshot, ...] = ()


def truncated(name: str) -> str:
    """A tag as QEMU stores it: cut at 255 bytes, even inside a character (fact 8)."""
    data = name.encode()
    if len(data) <= TAG_LIMIT_BYTES:
        return name
    return data[:TAG_LIMIT_BYTES].decode(errors="replace")


def find_by_name(layer: Qcow2Image, name: str) -> LayerSnapshot | None:
    """The first snapshot of that name."""
    return next((s for s in layer.snapshots if s.name == name), None)


def find_by_id_and_name(
    layer: Qcow2Image, snapshot_id: str | None, name: str | None
) -> LayerSnapshot | None:
    """The first snapshot that has this id and this name; None stands for any."""
    for snapshot in layer.snapshots:
        if snapshot_id is not None and snapshot.id != snapshot_id:
            continue
        if name is not None and snapshot.name != name:
            continue
        return snapshot
    return None


def write_vmstate(layer: Qcow2Image, vmstate: Vmstate) -> Qcow2Image:
    """Write machine state into the active layer, over what a failed save may have left there."""
    return evolve(layer, vmstate=vmstate)


def create_snapshot(  # noqa: PLR0913 - a snapshot's header has that many fields
    layer: Qcow2Image,
    name: str,
    *,
    instant: int,
    vm_clock_ns: int,
    vm_state_size_bytes: int = 0,
    date_ns: int = 0,
    size_bytes: int = 0,
) -> tuple[Qcow2Image, LayerSnapshot]:
    """Add a snapshot that shares everything in the active layer; the vmstate stays there.

    The new id is one more than the largest, so the id of a deleted last snapshot comes again.
    """
    highest = max((int(s.id) for s in layer.snapshots if s.id.isdigit()), default=0)
    snapshot = LayerSnapshot(
        id=str(highest + 1),
        name=name,
        vm_clock_ns=vm_clock_ns,
        vm_state_size_bytes=vm_state_size_bytes,
        content=layer.content,
        instant=instant,
        vmstate=layer.vmstate,
        date_ns=date_ns,
        size_bytes=size_bytes,
    )
    return evolve(layer, snapshots=(*layer.snapshots, snapshot)), snapshot


def discard_vmstate(layer: Qcow2Image) -> Qcow2Image:
    """Free the machine state's clusters in the active layer; snapshots keep theirs (fact 17)."""
    return evolve(layer, vmstate=None)


def goto_snapshot(layer: Qcow2Image, wanted: str, *, id_first: bool = True) -> Qcow2Image | None:
    """Make the active layer what a snapshot holds, its machine state included.

    Args:
        layer: The image's layer.
        wanted: Id or name.
        id_first: Whether an id is looked for before a name (fact 9).

    Returns:
        The layer, or None when there is no such snapshot.
    """
    snapshot = wanted_snapshot(layer, wanted, id_first=id_first)
    if snapshot is None:
        return None
    return evolve(layer, content=snapshot.content, vmstate=snapshot.vmstate)


def wanted_snapshot(layer: Qcow2Image, wanted: str, *, id_first: bool) -> LayerSnapshot | None:
    """The snapshot that a load finds by an id or a name."""
    by_id = find_by_id_and_name(layer, wanted, None) if id_first else None
    return by_id or find_by_name(layer, wanted)


def delete_snapshot(layer: Qcow2Image, snapshot: LayerSnapshot) -> Qcow2Image:
    """Remove the first snapshot that has the id and the name of this one."""
    kept = list(layer.snapshots)
    for index, present in enumerate(kept):
        if (present.id, present.name) == (snapshot.id, snapshot.name):
            del kept[index]
            break
    return evolve(layer, snapshots=tuple(kept))
