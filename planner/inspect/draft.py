"""A request to begin with: everything that the guest can write to, each disk as it can be kept.

A draft leaves out only what cannot be a part at all, and says what that costs.  A disk that can hold no
internal snapshot gets an overlay beside its image; the machine state goes into the first disk that can
hold it, else into a file beside the first image.  Of what could be asked for, the first is
drafted that this VM can do as it is now, else the one that least speaks against.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain

from attrs import define, field, frozen

from planner.compile.designs import AUTO, choose_design
from planner.compile.new_files import images_of
from planner.compile.refusals import can_be_written, disk_problems
from planner.compile.resolve import resolve
from planner.errors import Problem, SnapplanError
from planner.model.facts import Disk, Facts
from planner.model.outside import outside_of
from planner.model.request import (
    Capture,
    Exclude,
    External,
    ExternalMachineState,
    ImageMachineState,
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

__all__ = ["Draft", "DraftedDisk", "draft_of", "free_tag"]

_OPTIONS = "json:"
_DEVICES = "/dev/"
_BACKGROUND_SINCE = (10, 0)
_COST = "a load leaves there what the guest wrote since: file systems on it may break"


def _nothing_is_there(_path: str) -> bool:
    return False


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


def draft_of(
    facts: Facts, tag: str, there: Callable[[str], bool] = _nothing_is_there, folder: str = ""
) -> Draft:
    """Draft a request for a VM as it is now, and compile it: what is refused is drafted otherwise.

    Args:
        facts: The VM.
        tag: The request's; one that is taken is refused as ever (`free_tag`).
        there: Whether something is at a path; by itself only what the facts name is known.
        folder: Where new files go if no image of the VM has a folder; empty: nowhere.
    """
    places = _Places(facts, there, folder)
    disks = {disk.name: disk for disk in facts.disks if disk.attached}
    drafted = {name: _first_choice(disk, tag, places) for name, disk in disks.items()}
    while True:
        tried = [
            (_problems(facts, tag, state, drafted.values()), state)
            for state in _states(facts, tag, tuple(drafted.values()), places)
        ]
        problems, state = min(tried, key=lambda each: len(each[0]))
        refused = {each.subject: each for each in problems if each.code != "tag-taken"}
        fallen = {
            name: _next_choice(drafted[name], disks[name], tag, places, refused[name].message)
            for name in refused.keys() & drafted.keys()
            if not isinstance(drafted[name].wish, Exclude)
        }
        if not fallen:
            return Draft(
                state, tuple(drafted.values()), tuple(_notes(state, drafted.values(), facts))
            )
        drafted |= fallen  # each falls twice at most


def free_tag(facts: Facts, tag: str, recorded: Collection[str] = ()) -> str:
    """The tag, or the next one like it that neither a disk holds nor a manifest has."""
    taken = {snapshot.name for disk in facts.disks for snapshot in disk.snapshots} | {*recorded}
    found, number = tag, 2
    while found in taken:
        found = f"{tag}-{number}"
        number += 1
    return found


@define
class _Places:
    """Where new files can go."""

    facts: Facts
    there: Callable[[str], bool]
    folder: str
    taken: set[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.taken = set(images_of(self.facts))

    def beside(self, disk: Disk) -> str:
        """The folder for a file beside a disk's image; empty: there is none."""
        return _folder(disk, self.facts) or self.folder

    def free(self, folder: str, name: str, suffix: str, *, taking: bool) -> str:
        """A path in a folder at which nothing is, and that nobody else is given where it is taken."""
        stem = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100].lstrip(".-") or "disk"
        path = f"{folder}/{stem}.{suffix}"
        number = 2
        while path in self.taken or self.there(path):
            path = f"{folder}/{stem}-{number}.{suffix}"
            number += 1
        if taking:
            self.taken.add(path)
        return path


def _first_choice(disk: Disk, tag: str, places: _Places) -> DraftedDisk:
    refused = next(disk_problems(disk), None) or next(MakeInternal().can_be(disk), None)
    if refused is None:
        return DraftedDisk(disk.name, Internal())
    if not can_be_written(disk):
        why = "read-only: the guest cannot change it" if disk.read_only else refused.message
        return DraftedDisk(disk.name, Exclude(), why)
    return _next_choice(DraftedDisk(disk.name, Internal()), disk, tag, places, refused.message)


def _next_choice(
    now: DraftedDisk, disk: Disk, tag: str, places: _Places, refused: str
) -> DraftedDisk:
    """What to draft where this is refused: an overlay in place of a snapshot, then nothing."""
    folder = places.beside(disk)
    problem = next(disk_problems(disk), None) or next(MakeOverlay().can_be(disk), None)
    if isinstance(now.wish, Internal) and can_be_written(disk) and problem is None and folder:
        path = places.free(folder, f"{disk.name}.{tag}", "qcow2", taking=True)
        why = f"{refused}; so it stays as it is, and the guest goes on in an overlay"
        return DraftedDisk(disk.name, External(path), why)
    reason = refused if problem is None else problem.message
    if problem is None and not folder:
        reason = "say where an overlay is to be made"
    cost = f"; {_COST}" if can_be_written(disk) else ""
    return DraftedDisk(disk.name, Exclude(), f"left out: {reason}{cost}")


def _folder(disk: Disk, facts: Facts) -> str:
    """Where a file beside a disk's image goes; beside another one's where that is a host's device."""
    names = map(_file, chain((disk,), facts.disks))
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


def _states(
    facts: Facts, tag: str, disks: Sequence[DraftedDisk], places: _Places
) -> Iterator[MachineState]:
    """Where the machine state could go, the best first; the last is nowhere."""
    if facts.is_daemon:
        yield NoMachineState()
        return
    inside = [disk.name for disk in disks if isinstance(disk.wish, Internal)]
    able = (disk.name for disk in facts.disks if not any(holds_machine_state(disk)))
    holder = next((name for name in able if name in inside), "")
    if holder:
        yield InternalMachineState(holder)
    beside = next((disk.wish.path for disk in disks if isinstance(disk.wish, External)), "")
    files = (_file(disk) for disk in facts.disks if disk.name in inside)
    folder = (beside or next(files, "")).rpartition("/")[0] or places.folder
    if folder:
        path = places.free(folder, tag, "state", taking=False)
        running = facts.run_state == "running"
        background = (facts.qemu.major, facts.qemu.minor) >= _BACKGROUND_SINCE
        if running or not background:
            yield ExternalMachineState(path, Capture.STOPPED)
        else:
            yield ExternalMachineState(path, Capture.BACKGROUND)
        # A guest that stands cannot be left standing by a stream before 10.0 (fact 29).
        yield ImageMachineState(places.free(folder, tag, "vmstate.qcow2", taking=False))
    yield NoMachineState()


def _problems(
    facts: Facts, tag: str, state: MachineState, disks: Iterable[DraftedDisk]
) -> tuple[Problem, ...]:
    """Why it would be refused; what lies outside of the block layer only its user can leave out."""
    wishes = tuple((disk.name, disk.wish) for disk in disks)
    outside = tuple((each.name, Exclude()) for each in outside_of(facts))
    known = facts.by_name()
    wishes += tuple(each for each in outside if each[0] not in known)
    try:
        choose_design(AUTO, resolve(ReadRequest(Request(tag, state, wishes)), facts))
    except SnapplanError as error:
        return error.as_problems()
    return ()


def _notes(state: MachineState, disks: Iterable[DraftedDisk], facts: Facts) -> Iterator[str]:
    overlays = any(isinstance(disk.wish, External) for disk in disks)
    if facts.is_daemon:
        if overlays:
            yield "Overlays: start the daemon from them afterwards, not from the images under them."
        yield "A storage daemon has disks only: they are as after a power cut of the guest's."
        return
    if overlays:
        yield "Overlays: start QEMU from them afterwards, not from the images under them; a load goes"
        yield "back in a fresh QEMU (`snapplan load --run`)."
    if isinstance(state, NoMachineState):
        reason = next(iter(facts.blocked_reasons), "")
        because = f" ({reason})" if reason else ""
        yield f"Without machine state{because}: the disks are as after a power cut."
    if isinstance(state, ExternalMachineState) and state.capture is Capture.STOPPED:
        yield "The guest stands still while its memory is written; with `capture: live`, or `background`"
        yield "(QEMU 10.0 and later), for a shorter time."
