"""How machine state is written to a file of its own: `planner.parts.stream`, before it is there.

Which way QEMU writes a stream to a file depends on its version (fact 31), which captures it can do as
well (facts 39 to 42); every choice is made here once, with its reason, or refused.  The steps of the
capture are each design's own (`planner.compile.lowering.stream`): they are what the designs differ in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Disk, Facts
from planner.model.file_record import FileRecord
from planner.model.node_names import Chain
from planner.model.request import Capture, ExternalMachineState, RunStateAfter
from planner.parts.making import KeptFile, Making, NotShown, Shown, ShownPart
from planner.parts.stream import LIBVIRT, MAPPED, PLAIN, StateStream
from planner.parts.tracking import tracking_problems
from planner.program.resolution import Choice, Resolution, Settings, Stream, Transport
from planner.program.schema import CommandSchema
from planner.program.settings import settings_of_stream

__all__ = ["MakeStream", "ShownStream", "stream_choices", "stream_of", "stream_problems"]


_FILE_URI_SINCE = (8, 2)
_BACKGROUND_SINCE = (10, 0)
_SET_COMMANDS = ("add-fd", "query-fdsets", "remove-fd")
_OFFSET_OPTION = ",offset="


@frozen
class ShownStream(ShownPart):
    """Machine state in a file of its own.

    Attributes:
        disk: Empty.
        filename: The file.
        kept: What it is, as the host has told.
        mapped: Whether it is a `mapped-ram` file.
        libvirt: Whether libvirt's header stands before it.
    """

    plain_key: ClassVar[str] = "stream"

    disk: str
    filename: str
    kept: KeptFile
    mapped: bool
    libvirt: bool = False

    @property
    def state_bytes(self) -> int:
        """The file's length."""
        return self.kept.size_bytes

    def recorded(self, disks: Mapping[str, Disk]) -> StateStream:
        """What the manifest has of it."""
        return StateStream(
            file=self.filename,
            format=LIBVIRT if self.libvirt else MAPPED if self.mapped else PLAIN,
            vm_state_size_bytes=self.kept.size_bytes,
            record=FileRecord(sha256=self.kept.sha256),
        )

    def to_plain(self) -> dict[str, object]:
        """What a program is shown of it."""
        return {
            "file": self.filename,
            "size": self.kept.size_bytes,
            "mapped-ram": self.mapped,
        }


class MakeStream(Making):
    """Machine state in a file."""

    def state_words(self, resolution: Resolution) -> str:
        """In which file, and which instant of it."""
        stream = resolution.stream
        return f"external, to {stream.path}, captured {stream.capture}" if stream else ""

    def disks(self, resolution: Resolution) -> tuple[str, ...]:
        """None."""
        return ()

    def commands(self, resolution: Resolution) -> Iterator[str]:
        """To look, and to undo."""
        if resolution.stream is not None:
            yield from ("query-migrate", "migrate_cancel")

    def files(self, resolution: Resolution) -> tuple[str, ...]:
        """The file."""
        return () if resolution.stream is None else (resolution.stream.path,)

    def confirmed(self, resolution: Resolution, shown: Shown) -> Iterator[ShownStream]:
        """The file has its name, and is not empty."""
        stream = resolution.stream
        if stream is None:
            return
        if shown.kept is None or not shown.kept.size_bytes:
            raise NotShown("stream-empty", "QEMU wrote no machine state to the file")
        yield ShownStream("", stream.path, shown.kept, stream.mapped, stream.libvirt)


def stream_problems(
    state: ExternalMachineState, facts: Facts, after: RunStateAfter
) -> Iterator[Problem]:
    """Why this VM cannot write its machine state to a file in the way asked for."""
    where = "machine-state"
    if not facts.capabilities:
        yield Problem(
            "capabilities-unknown",
            where,
            "the facts do not say how the VM's migration is set, so that could not be put back",
            "make the facts anew with `snapplan inspect`",
        )
        return
    if _OFFSET_OPTION in state.path and _transport(facts) is Transport.FILE:
        yield Problem(
            "path-unusable", where, f"QEMU reads {_OFFSET_OPTION!r} as an option", "choose another"
        )
    yield from _capture_problems(state.capture, facts)
    if state.capture is not Capture.LIVE and (state.auto_converge or state.downtime_limit):
        yield Problem(
            "option-needs-live",
            where,
            "auto-converge and downtime-limit say how a guest that runs on is caught up with",
            "leave them out, or use `capture: live`",
        )
    leaves_inactive = state.capture is not Capture.BACKGROUND
    if leaves_inactive and after is RunStateAfter.PAUSED:
        yield Problem(
            "postmigrate-stays",
            where,
            f"after `capture: {state.capture}` QEMU is in postmigrate, and only `cont` leads out of "
            "that (fact 29): the VM cannot be left paused",
            "use `capture: background` (QEMU 10.0 and later), or `run-state-after: running`",
        )


def _capture_problems(capture: Capture, facts: Facts) -> Iterator[Problem]:
    where = "machine-state"
    if capture is Capture.LIVE and facts.run_state != "running":
        yield Problem(
            "capture-needs-a-running-guest",
            where,
            "a live capture copies while the guest runs, and it is paused",
            "use `capture: stopped`",
        )
    if capture is Capture.BACKGROUND and _version(facts) < _BACKGROUND_SINCE:
        yield Problem(
            "background-unsafe",
            where,
            f"QEMU {facts.qemu} resumes a stopped guest by itself during a background capture, and a "
            "cancelled one freezes the guest for good (fact 41); 10.0 and later do not",
            "use `capture: live` or `stopped`",
        )
    if capture is Capture.BACKGROUND:
        yield from tracking_problems(facts)
    else:
        yield from (_lost(disk) for disk in facts.disks if disk.lost_name and not disk.read_only)
    for name in _wanted_capabilities(capture):
        if name not in facts.capabilities:
            yield Problem(
                "capability-lacking",
                where,
                f"this QEMU has no migration capability {name!r}",
                "use another capture",
            )


def _lost(disk: Disk) -> Problem:
    return Problem(
        "image-not-found-again",
        disk.name,
        f"QEMU was started with the relative path {disk.lost_name!r} and is in another folder since "
        "(-daemonize), so it cannot open the image again, and the migration fails when it makes the "
        "nodes inactive (fact 71)",
        "start QEMU with the whole path of each image; or put the machine state into an image, which "
        "needs no migration: `machine-state: {image: FILE}`",
    )


def stream_of(state: ExternalMachineState, facts: Facts) -> Stream:
    """External machine state with every choice made; only where `stream_problems` finds none."""
    transport = _transport(facts)
    mapped = _mapped(state.capture, facts)
    return Stream(
        path=state.path,
        capture=state.capture,
        transport=transport,
        mapped=mapped,
        settings=_settings(state, facts, mapped=mapped),
        give_up_after_s=state.give_up_after,
        libvirt=_through_libvirt(facts),
    )


def stream_choices(stream: Stream, facts: Facts) -> Iterator[Choice]:
    """What was chosen for a stream, and why."""
    reason = {
        Transport.FILE: f"QEMU {facts.qemu} writes to a path (8.2 and later)",
        Transport.DESCRIPTOR: f"QEMU {facts.qemu} knows no file: URI; it gets a descriptor",
        Transport.DESCRIPTOR_SET: "QEMU gets the file as a descriptor, whoever it runs as (fact 75)",
    }[stream.transport]
    yield Choice("machine-state", f"by {stream.transport}:", reason, default=True)
    if stream.libvirt:
        why = "libvirt runs this VM, and `virsh restore` takes the file"
        yield Choice("machine-state", "behind libvirt's header", why, default=True)
    if stream.mapped:
        why = "each page has a fixed place, so the file does not grow while the guest writes"
        yield Choice("machine-state", "mapped-ram", why, default=True)


def _version(facts: Facts) -> tuple[int, int]:
    return facts.qemu.major, facts.qemu.minor


def _transport(facts: Facts) -> Transport:
    if _version(facts) < _FILE_URI_SINCE:
        return Transport.DESCRIPTOR
    by_set = all(CommandSchema.of(facts.schema).has_command(name) for name in _SET_COMMANDS)
    return Transport.DESCRIPTOR_SET if by_set else Transport.FILE  # facts of before do not know


def _mapped(capture: Capture, facts: Facts) -> bool:
    # Fact 42: with background-snapshot it makes a file that cannot be loaded.  Of libvirt 11.2 and
    # later alone takes one, in a format of its own.
    if _through_libvirt(facts):
        return False
    return capture is not Capture.BACKGROUND and "mapped-ram" in facts.capabilities


def _through_libvirt(facts: Facts) -> bool:
    return any(disk.chain is Chain.LIBVIRT for disk in facts.disks)


def _wanted_capabilities(capture: Capture) -> tuple[str, ...]:
    return {
        Capture.STOPPED: ("events",),
        Capture.LIVE: ("events", "pause-before-switchover"),
        Capture.BACKGROUND: ("events", "background-snapshot"),
    }[capture]


def _settings(state: ExternalMachineState, facts: Facts, *, mapped: bool) -> Settings:
    # All others off: multifd, postcopy-ram, x-ignore-shared and more make another stream, or none.
    wanted = {*_wanted_capabilities(state.capture)}
    wanted |= {"mapped-ram"} if mapped else set()
    wanted |= {"auto-converge"} if state.auto_converge else set()
    limits = {"max-bandwidth": state.max_bandwidth}  # 0 is no limit (fact 53); QEMU's own is one
    if state.downtime_limit:
        limits["downtime-limit"] = state.downtime_limit
    return settings_of_stream(facts, wanted, limits)
