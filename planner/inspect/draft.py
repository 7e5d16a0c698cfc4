"""A request to begin with: everything that the guest can write to, each disk as it can be kept.

A draft leaves out only what cannot be a part at all, and says what that costs.  A disk that can hold no
internal snapshot gets an overlay beside its image; the machine state goes into the first disk that can
hold it, else into a file beside the first image.  Of what could be asked for, the first is
drafted that this VM can do as it is now, else the one that least speaks against.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import frozen

from planner.compile.designs import AUTO, choose_design
from planner.compile.new_files import images_of
from planner.compile.refusals import can_be_written, disk_problems
from planner.compile.resolve import resolve
from planner.errors import SnapplanError
from planner.model.facts import Disk, Facts
from planner.model.request import (
    Capture,
    Exclude,
    External,
    ExternalMachineState,
    Internal,
    InternalMachineState,
    MachineState,
    NoMachineState,
    Request,
    Wish,
)
from planner.model.request_text import ReadRequest
from planner.model.text import json_object
from planner.parts.image_limits import holds_machine_state
from planner.parts.make_internal import MakeInternal
from planner.parts.make_overlay import MakeOverlay

__all__ = ["Draft", "DraftedDisk", "draft_of"]

_OPTIONS = "json:"
_DEVICES = "/dev/"
_BACKGROUND_SINCE = (10, 0)
_COST = "a load leaves there what the guest wrote since: file systems on it may break"


@frozen
class DraftedDisk:
    """One disk.

    Attributes:
        name: Its canonical name.
        wish: What it is to be.
        why: Why it is no internal part, in a clause; empty: it is one.
    """

    name: str
    wish: Wish
    why: str = ""


@frozen
class Draft:
    """A request, with reasons.

    Attributes:
        machine_state: Where memory and devices go.
        disks: Every disk that a device of the guest uses.
        notes: What the reader should know of the whole, a line each.
    """

    machine_state: MachineState
    disks: tuple[DraftedDisk, ...]
    notes: tuple[str, ...] = ()


def draft_of(facts: Facts, tag: str) -> Draft:
    """Draft a request for a VM as it is now."""
    disks = tuple(_disks(facts, tag))
    states = _states(facts, tag, disks)
    state = min(states, key=lambda state: _problem_count(facts, tag, state, disks))
    return Draft(state, disks, tuple(_notes(state, disks, facts)))


def _disks(facts: Facts, tag: str) -> Iterator[DraftedDisk]:
    taken = set(images_of(facts))
    for disk in facts.disks:
        if disk.attached:
            drafted = _drafted(disk, facts, tag, taken)
            if isinstance(drafted.wish, External):
                taken.add(drafted.wish.path)
            yield drafted


def _drafted(disk: Disk, facts: Facts, tag: str, taken: set[str]) -> DraftedDisk:
    busy = next(disk_problems(disk), None)
    internal = busy or next(MakeInternal().can_be(disk), None)
    if internal is None:
        return DraftedDisk(disk.name, Internal())
    if not can_be_written(disk):
        return DraftedDisk(disk.name, Exclude(), internal.message)
    folder = _folder(disk, facts)
    external = busy or next(MakeOverlay().can_be(disk), None)
    if external is None and folder:
        path = _free(folder, f"{disk.name}.{tag}", "qcow2", taken)
        why = f"{internal.message}; so it stays as it is, and the guest goes on in an overlay"
        return DraftedDisk(disk.name, External(path), why)
    reason = external.message if external is not None else "say where an overlay is to be made"
    return DraftedDisk(disk.name, Exclude(), f"left out: {reason}; {_COST}")


def _folder(disk: Disk, facts: Facts) -> str:
    """Where a file beside a disk's image goes; beside another one's where that is a host's device."""
    names = (_file(disk), *(_file(other) for other in facts.disks))
    files = (name for name in names if name.startswith("/") and not name.startswith(_DEVICES))
    return next(files, "").rpartition("/")[0]


def _file(disk: Disk) -> str:
    """A disk's file, also where QEMU spells its image out as options, as it does an encrypted one."""
    spelled = disk.filename.removeprefix(_OPTIONS)
    if spelled == disk.filename:
        return spelled
    node = json_object(spelled) or {}
    while isinstance(node.get("file"), dict):
        node = node["file"]
    return str(node.get("filename", ""))


def _free(folder: str, name: str, suffix: str, taken: set[str]) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100].lstrip(".-") or "disk"
    path = f"{folder}/{stem}.{suffix}"
    number = 2
    while path in taken:
        path = f"{folder}/{stem}-{number}.{suffix}"
        number += 1
    return path


def _states(facts: Facts, tag: str, disks: Sequence[DraftedDisk]) -> Iterator[MachineState]:
    """Where the machine state could go, the best first; the last is nowhere."""
    inside = [disk.name for disk in disks if isinstance(disk.wish, Internal)]
    able = (disk.name for disk in facts.disks if not any(holds_machine_state(disk)))
    holder = next((name for name in able if name in inside), "")
    if holder:
        yield InternalMachineState(holder)
    beside = next((disk.wish.path for disk in disks if isinstance(disk.wish, External)), "")
    files = (_file(disk) for disk in facts.disks if disk.name in inside)
    folder = (beside or next(files, "")).rpartition("/")[0]
    if folder:
        path = _free(folder, tag, "state", set(images_of(facts)))
        running = facts.run_state == "running"
        background = (facts.qemu.major, facts.qemu.minor) >= _BACKGROUND_SINCE
        if running or not background:
            yield ExternalMachineState(path, Capture.STOPPED)
        else:
            yield ExternalMachineState(path, Capture.BACKGROUND)
    yield NoMachineState()


def _problem_count(
    facts: Facts, tag: str, state: MachineState, disks: Sequence[DraftedDisk]
) -> int:
    wishes = tuple((disk.name, disk.wish) for disk in disks)
    try:
        choose_design(AUTO, resolve(ReadRequest(Request(tag, state, wishes)), facts))
    except SnapplanError as error:
        return max(len(error.problems), 1)
    return 0


def _notes(state: MachineState, disks: Sequence[DraftedDisk], facts: Facts) -> Iterator[str]:
    if any(isinstance(disk.wish, External) for disk in disks):
        yield "Overlays: start QEMU from them afterwards, not from the images under them; a load goes"
        yield "back in a fresh QEMU (`snapplan load --run`)."
    if isinstance(state, NoMachineState):
        reason = next(iter(facts.blocked_reasons), "")
        because = f" ({reason})" if reason else ""
        yield f"Without machine state{because}: the disks are as after a power cut."
    if isinstance(state, ExternalMachineState) and state.capture is Capture.STOPPED:
        yield "The guest stands still while its memory is written; with `capture: live`, or `background`"
        yield "(QEMU 10.0 and later), for a shorter time."
