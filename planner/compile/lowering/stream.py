"""Steps that the designs with external machine state share: the file, the settings, the stream.

Around the capture itself stand the same four things in each of them: the VM's migration settings are
made what the capture needs, the file is made under a temporary name (0600, fact 31); and when the
guest runs again, the file gets its name and the settings are put back.  None of this is in the pause.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.compile.lowering.common import (
    capture_disks,
    delete_replaced,
    ends_of_copies,
    finish_parts,
    prepare_parts,
)
from planner.compile.lowering.settings import settings_before, settings_put_back
from planner.errors import InternalError, Problem
from planner.model.operations import Kind, Operation
from planner.model.request import Capture
from planner.parts.readied import first_restored_file
from planner.program.program import Step, Target, Undo, UndoKind, WaitsFor
from planner.program.resolution import DiskCopy, Overlay, Resolution, Stream, Transport

__all__ = [
    "begin_and_end",
    "beside_the_capture",
    "end_flushing",
    "migrate",
    "stream_asked",
    "stream_problem",
]

_HOST_TIMEOUT_S = 600
_KEEP_TIMEOUT_S = 3600
"""A stream of many gigabytes is written back, and its digest made, before it gets its name."""


def stream_problem(design: str, capture: Capture, resolution: Resolution) -> Iterator[Problem]:
    """Why a design that captures in one way cannot do this request."""
    stream = resolution.stream
    for copy in resolution.copies if capture is not Capture.BACKGROUND else ():
        yield Problem(
            "design-cannot",
            copy.disk,
            f"design {design} makes no copies of disks: a migration that ends with the guest stopped "
            "cannot end while a job copies (fact 114)",
            "use `capture: background` (QEMU 10 and later), or keep machine state in an image of its "
            "own or inside a disk's",
        )
    if stream is None:
        yield Problem(
            "design-cannot",
            "machine-state",
            f"design {design} writes machine state to a file as a stream, and the request asks for none",
            "use design vmstate-node"
            if resolution.vmstate_node is not None
            else "use design transactional",
        )
    elif stream.capture is not capture:
        yield Problem(
            "design-cannot",
            "machine-state",
            f"design {design} captures {capture}, and the request says {stream.capture}",
            f"use `capture: {capture}`, or another design",
        )


def stream_asked(resolution: Resolution) -> Stream:
    """The stream of a resolution that asks for one."""
    if resolution.stream is None:
        raise InternalError("a design for streams was given a request without one")
    return resolution.stream


def begin_and_end(stream: Stream) -> tuple[Operation, Operation]:
    """The two operations that a stream is."""
    return (
        Operation(Kind.BEGIN_STREAM_VMSTATE, detail=stream.capture),
        Operation(Kind.END_STREAM_VMSTATE, detail=stream.capture),
    )


def beside_the_capture(resolution: Resolution, stream: Stream) -> Iterator[Step]:
    """All that is the same in every capture: what prepares, the disks, what tidies up."""
    replacing = tuple(delete_replaced(resolution))
    yield from replacing
    # What can fail comes before what nothing brings back.
    given_up = tuple(op for step in replacing for op in step.covers)
    yield from _around_the_stream(stream, given_up, ends_of_copies(resolution), resolution.overlays)
    yield from prepare_parts(resolution)
    yield _flush_images(resolution, stream)
    yield from capture_disks(resolution)
    yield from finish_parts(resolution)


def _around_the_stream(
    stream: Stream,
    replacing: tuple[Operation, ...],
    copied: tuple[Operation, ...],
    apart: tuple[Overlay | DiskCopy, ...],
) -> Iterator[Step]:
    """Everything that comes before the capture and after it."""
    # `virsh restore` opens overlays that have yet to be made: what the parts are in stays as it is.
    opened = {each.base_file: first_restored_file(each.path) for each in apart}
    begin, end = begin_and_end(stream)
    before = (Operation(Kind.PAUSE_GUEST), begin, *replacing)
    after = (Operation(Kind.RESUME_GUEST), end)
    settings = stream.settings
    yield from settings_before(settings, before)
    yield Step(
        execute="create-stream",
        arguments={
            "path": stream.path,
            "temporary": stream.temporary,
            **({"mapped": True} if stream.mapped else {}),
            **({"libvirt": True} if stream.libvirt else {}),
        },
        covers=(),
        undo=(Undo(UndoKind.REMOVE_FILE),),
        target=Target.HOST,
        precedes=before,
    )
    if stream.transport is Transport.DESCRIPTOR:
        yield Step(
            execute="getfd",
            arguments={"fdname": stream.descriptor_name},
            covers=(),
            undo=(Undo(UndoKind.CLOSE_DESCRIPTOR),),
            precedes=before,
        )
    if stream.transport is Transport.DESCRIPTOR_SET:
        yield from _descriptor_set(stream, before, after)
    yield from settings_put_back(settings, after)
    yield Step(
        execute="keep-stream",
        arguments={
            "path": stream.path,
            "temporary": stream.temporary,
            **({"libvirt": opened} if stream.libvirt else {}),
        },
        covers=(),
        undo=(Undo(UndoKind.REMOVE_FILE),),
        timeout_s=_KEEP_TIMEOUT_S,
        target=Target.HOST,
        follows=(*after, *copied),
    )


def _descriptor_set(
    stream: Stream, before: tuple[Operation, ...], after: tuple[Operation, ...]
) -> Iterator[Step]:
    """Pass the file, since QEMU's user may not open it by its path (fact 75), and take it back."""
    number = stream.descriptor_set
    yield Step(
        execute="add-fd",
        arguments={"fdset-id": number, "opaque": stream.descriptor_name},
        covers=(),
        undo=(Undo(UndoKind.CLOSE_DESCRIPTOR),),
        precedes=before,
    )
    yield Step(execute="remove-fd", arguments={"fdset-id": number}, covers=(), follows=after)


def _flush_images(resolution: Resolution, stream: Stream) -> Step:
    """Have the host write its page cache back, so that QEMU's own flushes in the pause are short.

    `stop`, the transaction and the end of a migration flush every image, and a file system may make
    them wait for all that it has to write, the stream too (`specs/pause.md`).  Best effort: the guest
    is the same afterwards, and where it fails nothing but time is lost.
    """
    begin, _ = begin_and_end(stream)
    frozen = [overlay.disk for overlay in resolution.overlays]
    disks = sorted([*frozen, *(part.disk for part in resolution.internal)])
    arguments: dict[str, object] = {"disks": disks}
    live = stream.capture is Capture.LIVE
    if live:  # the images get dirty again while the stream is written, and so does its file
        arguments["temporary"] = stream.temporary
    return Step(
        execute="flush-while-streaming" if live else "flush-images",
        arguments=arguments,
        covers=(),
        timeout_s=_HOST_TIMEOUT_S,
        target=Target.HOST,
        precedes=(Operation(Kind.PAUSE_GUEST), begin),
        follows=tuple(Operation(Kind.ADD_OVERLAY, disk=disk) for disk in frozen),
    )


def end_flushing(stream: Stream) -> Step:
    """Have the host stop flushing, once the guest stands: QEMU flushes by itself now."""
    return Step(
        execute="end-flushing",
        arguments={"disks": [], "temporary": stream.temporary},
        covers=(),
        target=Target.HOST,
        precedes=(Operation(Kind.END_STREAM_VMSTATE, detail=stream.capture),),
        follows=(Operation(Kind.PAUSE_GUEST),),
    )


def migrate(stream: Stream, covers: tuple[Operation, ...], waits_for: WaitsFor) -> Step:
    """Begin the stream.  The guest runs on, or stands, as the capture says."""
    return Step(
        execute="migrate",
        arguments={"uri": stream.uri},
        covers=covers,
        waits_for=waits_for,
        ordered=True,
        undo=(Undo(UndoKind.CANCEL_MIGRATION),),
        timeout_s=stream.give_up_after_s,
    )
