"""A request as each design can do it: where machine state goes is made to fit, and that is said.

To compare designs side by side, one request has to do for all of them, though one design writes the
machine state into an image and another into a file.  So the machine state is put where the design can
put it, and a disk that is to be copied has a snapshot in its image in a design that makes no copies,
where its image can hold one; all else stays as asked for.  A request without machine state stays
without: else another snapshot would be compared.

Rules: no I/O.  Nothing is adapted that fits already, and nothing without a note.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve, frozen

from planner.compile.designs import DESIGNS
from planner.compile.lowering import background, external, live, vmstate_node
from planner.model.facts import Disk, Facts
from planner.model.request import (
    Capture,
    Copy,
    ExternalMachineState,
    ImageMachineState,
    Internal,
    InternalMachineState,
    MachineState,
    NoMachineState,
    Others,
    Request,
    Unreadable,
)
from planner.model.request_text import ReadRequest
from planner.parts.image_limits import holds_machine_state
from planner.parts.make_internal import MakeInternal

__all__ = ["Adapted", "adapt", "folder_for_streams", "stream_name"]

_CAPTURES = {
    external.NAME: Capture.STOPPED,
    live.NAME: Capture.LIVE,
    background.NAME: Capture.BACKGROUND,
}
_INTERNAL = {design.name for design in DESIGNS} - {*_CAPTURES, vmstate_node.NAME}
"""What writes machine state into a disk's image."""
_INTERNAL_PART = MakeInternal()
_NO_COPIES = {design.name for design in DESIGNS if not design.makes_copies}
"""What makes no copies of disks."""


@frozen
class Adapted:
    """A request as a design gets it.

    Attributes:
        read: The request.
        notes: What is not as it was asked for, a clause each; empty: it is as it was.
    """

    read: ReadRequest
    notes: tuple[str, ...] = ()


def adapt(read: ReadRequest, facts: Facts, design: str) -> Adapted:
    """Put a request's machine state where a design can put it, and its copies too.

    Args:
        read: The request.
        facts: The VM.
        design: A design's name; with any but the compiled ones the request stays as it is.
    """
    placed = _state_placed(read, facts, design)
    if design not in _NO_COPIES:
        return placed
    request = placed.read.request
    copied = dict(_copies_as_internal(request, facts))
    if not copied:
        return placed
    disks = tuple((name, Internal() if name in copied else wish) for name, wish in request.disks)
    read = evolve(placed.read, request=evolve(request, disks=disks))
    return Adapted(read, (*placed.notes, *copied.values()))


def _copies_as_internal(request: Request, facts: Facts) -> Iterator[tuple[str, str]]:
    """The disks to be copied whose image can hold a snapshot instead, each with the note on it."""
    table = facts.by_name()
    for name, wish in request.disks:
        disks = table.get(name, ())
        if (
            isinstance(wish, Copy)
            and disks
            and not any(any(_INTERNAL_PART.can_be(d)) for d in disks)
        ):
            yield name, f"{name} is internal, instead of a copy in {wish.path}"


def _state_placed(read: ReadRequest, facts: Facts, design: str) -> Adapted:
    state = read.request.machine_state
    if isinstance(state, NoMachineState | Unreadable):
        return Adapted(read)
    if design == vmstate_node.NAME and not isinstance(state, ImageMachineState):
        return _image(read, facts, design)
    if design in _INTERNAL and isinstance(state, ExternalMachineState | ImageMachineState):
        return _internal(read, facts, state)
    capture = _CAPTURES.get(design)
    if capture is None:
        return Adapted(read)
    if isinstance(state, InternalMachineState | ImageMachineState):
        return _external(read, facts, design, capture)
    if state.capture is not capture:
        return _captured(read, state, capture)
    return Adapted(read)


def stream_name(design: str) -> str:
    """The name of a made-up file for machine state."""
    suffix = "qcow2" if design == vmstate_node.NAME else "state"
    return f"snapplan-compare-{design}.{suffix}"


def folder_for_streams(request: Request, facts: Facts) -> str:
    """Where a stream goes: beside the one that is asked for, else beside the first disk's image."""
    if isinstance(request.machine_state, ExternalMachineState | ImageMachineState):
        return request.machine_state.path.rpartition("/")[0]
    files = (disk.filename for disk in _as_asked(request, facts) if disk.filename.startswith("/"))
    return next(files, "").rpartition("/")[0]


def _internal(
    read: ReadRequest, facts: Facts, state: ExternalMachineState | ImageMachineState
) -> Adapted:
    holder = next(_internal_disks(read.request, facts), None)
    if holder is None:
        return Adapted(read)  # the design says itself why it cannot
    how = (
        f"{state.capture} in"
        if isinstance(state, ExternalMachineState)
        else "in an image of its own,"
    )
    note = f"machine state is internal on {holder}, instead of {how} {state.path}"
    return Adapted(_with_state(read, InternalMachineState(holder)), (note,))


def _image(read: ReadRequest, facts: Facts, design: str) -> Adapted:
    path = f"{folder_for_streams(read.request, facts)}/{stream_name(design)}"
    note = f"machine state is in an image of its own, {path}, instead of as asked for"
    return Adapted(_with_state(read, ImageMachineState(path)), (note,))


def _external(read: ReadRequest, facts: Facts, design: str, capture: Capture) -> Adapted:
    path = f"{folder_for_streams(read.request, facts)}/{stream_name(design)}"
    note = f"machine state is external in {path}, `capture: {capture}`, instead of as asked for"
    return Adapted(_with_state(read, ExternalMachineState(path, capture)), (note,))


def _captured(read: ReadRequest, state: ExternalMachineState, capture: Capture) -> Adapted:
    notes = [f"`capture: {capture}` instead of {state.capture}"]
    wanted = evolve(state, capture=capture)
    if capture is not Capture.LIVE and (state.auto_converge or state.downtime_limit):
        wanted = evolve(wanted, auto_converge=False, downtime_limit=0)
        notes.append("without auto-converge and downtime-limit, which only a live capture knows")
    return Adapted(_with_state(read, wanted), tuple(notes))


def _with_state(read: ReadRequest, state: MachineState) -> ReadRequest:
    return evolve(read, request=evolve(read.request, machine_state=state))


def _internal_disks(request: Request, facts: Facts) -> Iterator[str]:
    """Disks whose part is internal and can hold machine state: those named, then the others."""
    table = facts.by_name()
    for name, wish in request.disks:
        if isinstance(wish, Internal) and not any(map(_cannot_hold, table.get(name, ()))):
            yield name
    if request.others is Others.INTERNAL:
        named = {disk.name for disk in _named(request, facts)}
        for disk in facts.disks:
            usable = disk.attached and not disk.read_only and not _cannot_hold(disk)
            if disk.name not in named and usable:
                yield disk.name


def _cannot_hold(disk: Disk) -> bool:
    return any(holds_machine_state(disk))


def _as_asked(request: Request, facts: Facts) -> Iterator[Disk]:
    yield from _named(request, facts)
    yield from facts.disks


def _named(request: Request, facts: Facts) -> Iterator[Disk]:
    table = facts.by_name()
    for name, _ in request.disks:
        yield from table.get(name, ())
