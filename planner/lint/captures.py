"""What a sequence has captured, and whether that is of one instant: read off the states.

Theory: on the semantics every part carries the version of the machine at which it was taken, and the
guest makes a new version whenever it can run between two commands.  So parts of one snapshot are of
one instant exactly if their versions are equal.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from planner.lint.moment import FIRST
from planner.lint.program import Command, Finding
from planner.semantics import Node, VmState
from planner.semantics.block import device_of

__all__ = ["CapturedPart", "captures_between", "instants"]

_FILE_STREAMS = ("exec:", "fd:", "file:")


@frozen
class CapturedPart:
    """One part that was captured.

    Attributes:
        command: By which command.
        what: The node, or the stream's address.
        tag: The snapshot's name; empty for overlays and streams.
        instant: Version of the machine in it.
        pause: Number of the pause (or of the running time) in which it was captured.
        vmstate: Whether it holds machine state.
        is_stream: Whether it is a stream.
        disk: For what an overlay was put on: the image at the bottom of its chain.
        until: Number of the pause that its end began; -1: it began none.
        leaves_memory_out: Whether it is a stream without shared memory: a template's, of no disk.
        own: Whether the node is no disk's: it is there for machine state alone.
        copy: Whether it is a copy of a disk.
    """

    command: Command
    what: str
    tag: str
    instant: int
    pause: int
    vmstate: bool = False
    is_stream: bool = False
    until: int = -1
    disk: str = ""
    leaves_memory_out: bool = False
    own: bool = False
    copy: bool = False


def captures_between(
    before: VmState, after: VmState, command: Command, pause: int
) -> Iterator[CapturedPart]:
    """The parts that are there after a command and were not before."""
    old_nodes = {node.name: node for node in before.graph.nodes}
    for node in after.graph.nodes:
        old = old_nodes.get(node.name)
        known = {(s.id, s.name) for s in old.layer.snapshots} if old is not None else set()
        for snapshot in node.layer.snapshots:
            if (snapshot.id, snapshot.name) not in known:
                vmstate = snapshot.vmstate is not None
                at = (snapshot.name, snapshot.instant, pause)
                own = node.owned and device_of(after, node) is None
                yield CapturedPart(command, node.name, *at, vmstate=vmstate, own=own)
        if node.backing and (old is None or node.backing != old.backing):
            disk = _bottom(after, node)
            named = _named(after, node)
            yield CapturedPart(command, named, "", after.machine_version, pause, disk=disk)
    known_streams = set(before.streams)
    for stream in after.streams:
        if stream not in known_streams:
            yield CapturedPart(
                command,
                stream.uri,
                "",
                stream.machine,
                pause,
                is_stream=True,
                leaves_memory_out="x-ignore-shared" in before.capabilities,
            )


def _named(state: VmState, overlay: Node) -> str:
    """What an overlay was put on, as a sequence calls it: a node that has no name is its disk's."""
    device = device_of(state, overlay) if overlay.backing.startswith("#") else None
    return overlay.backing if device is None else device.name


def _bottom(state: VmState, node: Node) -> str:
    while node.backing:
        node = state.graph.node(node.backing)
    return node.name


def instants(captures: list[CapturedPart]) -> Iterator[Finding]:
    """Parts of one snapshot that are of different instants."""
    tags = dict.fromkeys(capture.tag for capture in captures if capture.tag)
    for tag in tags:
        parts = [capture for capture in captures if capture.tag == tag]
        yield from _of_tag(tag, parts)
        if any(part.own and part.vmstate for part in parts):
            yield from _of_overlays(parts, captures)
    for copies in (False, True):
        yield from _of_disks_alone([part for part in captures if part.copy is copies], captures)
    streams = [place for place, capture in enumerate(captures) if capture.is_stream]
    for number, place in enumerate(streams):
        begin = streams[number - 1] + 1 if number else 0
        end = streams[number + 1] if number + 1 < len(streams) else len(captures)
        yield from _of_stream(captures[place], captures[begin:place], captures[place + 1 : end])


def _of_disks_alone(captures: list[CapturedPart], every: list[CapturedPart]) -> Iterator[Finding]:
    """Overlays, or copies, that only their sequence ties together: each disk's first is of a set."""
    if any(capture.is_stream for capture in every):
        return
    first: CapturedPart | None = None
    for capture in captures:
        if capture.tag:
            continue
        if first is None or capture.disk == first.disk:
            first = capture
        elif capture.instant != first.instant:
            yield Finding(
                capture.command.line,
                "one-instant",
                capture.command.execute,
                f"{capture.what} is captured at another instant than {first.what} (line "
                f"{first.command.line}): the guest ran between",
                "one transaction over all disks, or stop before the first and cont after the last",
            )


def _of_tag(tag: str, parts: list[CapturedPart]) -> Iterator[Finding]:
    first = next((part for part in parts if part.vmstate), parts[0])
    by_line: dict[int, tuple[Command, list[str]]] = {}
    for part in parts:
        if part.instant != first.instant:
            by_line.setdefault(part.command.line, (part.command, []))[1].append(part.what)
    for command, names in by_line.values():
        yield Finding(
            command.line,
            "one-instant",
            command.execute,
            f"{', '.join(names[:FIRST])} in {tag!r} is of another instant than {first.what} "
            f"(line {first.command.line}): the guest ran between",
            "capture all parts in one pause: stop before the first, cont after the last",
        )


def _of_overlays(parts: list[CapturedPart], captures: list[CapturedPart]) -> Iterator[Finding]:
    """Overlays beside machine state that has a node of its own, and none of the instant of that."""
    state = next(part for part in parts if part.own and part.vmstate)
    overlays = [each for each in captures if not each.tag and not each.is_stream]
    if overlays and all(each.instant != state.instant for each in overlays):
        late = overlays[0]
        yield Finding(
            late.command.line,
            "one-instant",
            late.command.execute,
            f"{late.what} is captured at another instant than the machine state on {state.what} "
            f"(line {state.command.line}): the guest ran between",
            "capture all parts in one pause: stop before the first, cont after the last",
        )


def _of_stream(
    stream: CapturedPart, before: list[CapturedPart], after: list[CapturedPart]
) -> Iterator[Finding]:
    command = stream.command
    related = [part for part in before if not part.tag or part.pause >= stream.pause]
    related += [part for part in after if part.pause in (stream.pause, stream.until)]
    of_a_vm = stream.what.startswith(_FILE_STREAMS) and not stream.leaves_memory_out
    if not related and of_a_vm:
        yield Finding(
            command.line,
            "one-instant",
            command.execute,
            "no disk is captured at the instant of the machine state: once the guest goes on, the "
            "stream matches no disk",
            "one transaction over the disks in the same pause (facts 29, 30 and 39)",
        )
    for part in related:
        if part.instant != stream.instant:
            yield Finding(
                part.command.line,
                "one-instant",
                part.command.execute,
                f"{part.what} is captured at another instant than the machine state of line "
                f"{command.line}",
                "capture the disks in the pause of the migration (facts 29, 30 and 39)",
            )
