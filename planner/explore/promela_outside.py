"""External parts in the Promela model: overlays, the stream, the nodes, settings and files.

Written from the setting, as `planner.explore.promela` is: a disk's image below its overlay is two
numbers, the stream one, and undo a row of guards.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.copies import COPY_KINDS
from planner.explore.instruction import Instruction, SideEffect
from planner.explore.promela_copies import COPIES_DECLARED, PromelaCopies
from planner.explore.state import Setting
from planner.model.operations import Kind, Operation
from planner.model.request import Capture

__all__ = ["DECLARED", "PromelaOutside"]

DECLARED = (
    COPIES_DECLARED
    + """\
#define BEGUN 1
#define HELD 2
#define TRACKED 3
#define COMPLETE 4
#define BROKEN 5
#define UNDER_WAY (stream >= BEGUN && stream <= TRACKED)
bool over[N];        /* an overlay is on the disk */
byte base_content[N]; byte base_until[N];
bool added[N];       /* the overlay is a node of QEMU's */
bool overlay_file[N]; bool stream_file;
byte stream; byte streamed;
bool inactive;       /* the nodes are, since a stream is complete */
byte changed;        /* migration settings that are not as they were: 1 capabilities, 2 parameters */
bool slow;           /* an overlay was made in the pause */
bool left_stream; bool left_settings;
"""
)

_DEATH_OF_STREAM = "stream = BROKEN; streamed = 0;"


class PromelaOutside:
    """The pieces of one setting."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._number = {name: number for number, name in enumerate(setting.disks)}
        self.external = [d for d in range(len(setting.disks)) if setting.overlays >> d & 1]
        inside = ~(setting.overlays | setting.copies)
        self.internal = [d for d in range(len(setting.disks)) if inside >> d & 1]
        self.stream = bool(setting.capture)
        self.own = setting.own
        self.copies = PromelaCopies(setting)
        self._any = bool(self.external or self.stream or self.own >= 0 or self.copies.disks)
        self._background = setting.capture == Capture.BACKGROUND
        self._leaves_active = any(i.leaves_active for i in setting.instructions)
        self._started_apart = any(i.effect is SideEffect.START_STREAM for i in setting.instructions)
        self._live = setting.capture == Capture.LIVE

    def written(self, disk: int) -> str:
        """What the guest's write to a disk means to the image below its overlay."""
        if disk not in self.external:
            return self.copies.written(disk)
        guard = f"over[{disk}] && base_until[{disk}] == 0"
        return f" if :: {guard} -> base_until[{disk}] = version :: else -> skip fi;"

    def effect(self, instruction: Instruction) -> str:
        """What an instruction does besides its operations."""
        bit = SideEffect.settings_bit(instruction.name)
        match instruction.effect:
            case SideEffect.START_STREAM:
                return f" {_START}"
            case SideEffect.CREATE_STREAM:
                return " stream_file = true;"
            case SideEffect.REMOVE_NODE:
                return f" added[{self.own}] = false;"
            case SideEffect.CREATE_OVERLAY | SideEffect.CREATE_IMAGE:
                disk = self._number[instruction.effect_disk]
                return f" overlay_file[{disk}] = true;{self._slow()}"
            case SideEffect.CHANGE_SETTINGS:
                return f" changed = changed | {bit};"
            case SideEffect.RESTORE_SETTINGS:
                return f" if :: UNDER_WAY -> skip :: else -> changed = changed & ~{bit} fi;"
            case _:
                return self.copies.effect(instruction)

    def _slow(self) -> str:
        return " slow = slow || !running;" if self._setting.runs_before else ""

    # --- operations ---------------------------------------------------------------------------------

    def can(self, operation: Operation) -> str:
        """When QEMU does an operation instead of failing it; empty: always."""
        disk = self._number.get(operation.disk, -1)
        match operation.kind:
            case Kind.FREEZE_FILESYSTEMS:
                return "(running && !frozen)"
            case Kind.THAW_FILESYSTEMS:
                return "running"
            case Kind.SNAPSHOT_DISK | Kind.WRITE_VMSTATE if disk == self.own:
                return f"added[{disk}]"
            case Kind.SNAPSHOT_DISK | Kind.WRITE_VMSTATE:
                return "!inactive" if self.stream else ""
            case Kind.SWITCH_TO_OVERLAY:
                return f"(added[{disk}] && !over[{disk}])"
            case Kind.BEGIN_STREAM_VMSTATE:
                return "UNDER_WAY" if self._started_apart else "(!UNDER_WAY && !inactive)"
            case Kind.END_STREAM_VMSTATE:
                return f"(UNDER_WAY && !{self._held_active()})"
            case kind:
                return self.copies.can(kind, disk)

    def waits(self, operation: Operation) -> str:
        """A further guard of an operation that QEMU does only later."""
        begins = self._started_apart and operation.kind is Kind.BEGIN_STREAM_VMSTATE
        late = self._background and (begins or operation.kind is Kind.END_STREAM_VMSTATE)
        return " && stream != BEGUN" if late else ""

    def doing(self, instruction: Instruction, kind: Kind, disk: int) -> str:
        """What an operation on an external part does."""
        match kind:
            case copying if copying in COPY_KINDS:
                return self.copies.doing(kind, disk)
            case Kind.ADD_OVERLAY | Kind.ADD_VMSTATE_NODE:
                return f"added[{disk}] = true; overlay_file[{disk}] = true;{self._slow()}"
            case Kind.SWITCH_TO_OVERLAY:
                return (
                    f"over[{disk}] = true; base_content[{disk}] = content[{disk}]; "
                    f"base_until[{disk}] = 0; captured = true;"
                )
            case Kind.BEGIN_STREAM_VMSTATE:
                if self._started_apart:
                    return ""
                tracked = self._background and instruction.waits_for_tracking
                return f"{_START} {_TRACK}" if tracked else _START
            case _:
                return self._ended()

    def _held_active(self) -> str:
        """Whether a job keeps the nodes active that a stream's end wants inactive (fact 114)."""
        active = self._background or self._leaves_active
        return "false" if active else self.copies.copying()

    def refused(self, kind: Kind) -> str:
        """What is left of a stream that fails when it should end."""
        if kind is not Kind.END_STREAM_VMSTATE:
            return ""
        return f"if :: UNDER_WAY -> {self._broken()} :: else -> skip fi; "

    def _ended(self) -> str:
        if self._background:
            waits = self._setting.runs_before and self._setting.runs_after
            return f"stream = COMPLETE;{' slow = slow || !running;' if waits else ''}"
        stops = "" if self._leaves_active else "inactive = true; running = false; "
        return f"stream = COMPLETE; streamed = version; {stops}captured = true;"

    def paused(self) -> str:
        """What a pause means to a live stream."""
        return " if :: stream == BEGUN -> stream = HELD :: else -> skip fi;" if self._live else ""

    def struck(self, kind: Kind, disk: int) -> str:
        """What an error leaves of a stream or a copy."""
        if kind is Kind.END_COPY:
            return self.copies.struck(disk)
        if kind not in (Kind.BEGIN_STREAM_VMSTATE, Kind.END_STREAM_VMSTATE):
            return ""
        return f"stream_file = true; if :: UNDER_WAY -> {self._broken()} :: else -> skip fi;"

    def _broken(self) -> str:
        before = "true" if self._setting.runs_before else "false"
        return f"running = running || (stream == HELD && {before}); {_DEATH_OF_STREAM}"

    def by_itself(self) -> Iterator[str]:
        """What QEMU does with a stream while nobody, or nobody any more, waits for it."""
        yield from self.copies.by_itself()
        if not self.stream:
            return
        undoing = "(phase == LOOKING || phase == UNDOING || (phase == ORPHANED && !sent))"
        if self._background:
            yield f"  :: atomic {{ WORKS && stream == BEGUN -> {_TRACK} }}"
            yield f"  :: atomic {{ {undoing} && stream == BEGUN -> {_TRACK} }}"
            yield f"  :: atomic {{ {undoing} && stream == TRACKED -> stream = COMPLETE }}"
        elif self._live:
            yield f"  :: atomic {{ {undoing} && stream == BEGUN -> stream = HELD; running = false }}"
        else:
            going = f"{undoing} && stream == BEGUN"
            yield f"  :: atomic {{ {going} && !{self._held_active()} -> {self._ended()} }}"
            yield f"  :: atomic {{ {going} && {self._held_active()} -> {self._broken()} }}"

    def may_go_on(self) -> str:
        """Whether a stream that nobody waits for still comes to something."""
        if not self.stream:
            return "false"
        return "(stream == BEGUN || stream == TRACKED)" if self._background else "stream == BEGUN"

    # --- undo -----------------------------------------------------------------------------------------

    def ready(self) -> str:
        """When undo may touch nodes."""
        return self._streamless() + self.copies.ended()

    def _streamless(self) -> str:
        return " && !UNDER_WAY && !inactive" if self.stream else ""

    def undo(self, parts_gone: str) -> Iterator[str]:
        """The steps before and after the deletion of internal parts."""
        if self.stream:
            yield f"  :: atomic {{ UNDOES && UNDER_WAY -> {self._broken()} }}"
            wakes = "UNDOES && !UNDER_WAY && inactive"
            yield f"  :: atomic {{ {wakes} -> running = true; inactive = false; sent_cont = true }}"
            yield f"  :: atomic {{ {wakes} && budget > 0 -> budget-- }}"
        yield from self.copies.undo(self._streamless())
        after = f"{parts_gone}{self.ready()}"
        for disk in self._added():
            guard = f"{after} && added[{disk}] && !left[{disk}]"
            off = f"added[{disk}] = false;"
            if disk != self.own:
                off = f"over[{disk}] = false; {off}"
            yield f"  :: atomic {{ UNDOES && {guard} -> {off} }}"
            offline = f"phase == OFFLINE && {parts_gone} && added[{disk}] && !left[{disk}]"
            yield f"  :: atomic {{ {offline} -> {off} }}"
            struck = f"UNDOES && {guard} && budget > 0 -> budget--;"
            yield f"  :: atomic {{ {struck} left[{disk}] = true }}"
            yield f"  :: atomic {{ {struck} phase = LOOKING }}"
            yield f"  :: atomic {{ {struck} {off} phase = LOOKING }}"
        if self._any:
            yield from self._tidied(after, parts_gone)

    def _tidied(self, after: str, parts_gone: str) -> Iterator[str]:
        ready = f"UNDOES && {after} && {self._overlays_gone()}"
        guard = f"{ready} && changed != 0 && !left_settings"
        yield f"  :: atomic {{ {guard} -> changed = 0 }}"
        yield f"  :: atomic {{ {guard} && budget > 0 -> budget--; left_settings = true }}"
        online = f"UNDOES && {after} && !(changed != 0 && !left_settings)"
        for when in (online, f"phase == OFFLINE && {parts_gone}"):
            for file, left in self._files():
                guard = f"{when} && {self._overlays_gone()} && {file} && !{left}"
                gone = self._gone_with(file)
                yield f"  :: atomic {{ {guard} -> {file} = false{gone} }}"
                yield f"  :: atomic {{ {guard} && budget > 0 -> budget--; {left} = true }}"

    def _added(self) -> list[int]:
        """The disks that have a node of the run's own."""
        return [*self.external, *([self.own] if self.own >= 0 else [])]

    def _gone_with(self, file: str) -> str:
        """What else is gone when a file is: the machine state's own image with all that it held."""
        if file != f"overlay_file[{self.own}]":
            return ""
        return f"; part[{self.own}] = false; layer[{self.own}] = 0"

    def _files(self) -> list[tuple[str, str]]:
        disks = [*self._added(), *self.copies.disks]
        files = [(f"overlay_file[{disk}]", f"left[{disk}]") for disk in disks]
        return [*files, ("stream_file", "left_stream")]

    def _overlays_gone(self) -> str:
        waiting = [f"(added[{disk}] && !left[{disk}])" for disk in self._added()]
        return f"!({' || '.join(waiting)})" if waiting else "true"

    def settled(self, *, offline: bool) -> str:
        """When nothing external is left to undo."""
        if not self._any:
            return ""
        files = " || ".join(f"({file} && !{left})" for file, left in self._files())
        settings = "" if offline else f"{self.ready()} && !(changed != 0 && !left_settings)"
        return f"{settings} && {self._overlays_gone()} && !({files})"

    # --- the properties -------------------------------------------------------------------------------

    def instants(self) -> Iterator[str]:
        """The frozen images and the stream among what has to be of one instant."""
        for disk in self.external:
            yield f"    if :: over[{disk}] ->"
            yield f"      if :: base_content[{disk}] > first -> first = base_content[{disk}]"
            yield "      :: else -> skip fi;"
            until = f"base_until[{disk}]"
            yield f"      if :: {until} != 0 && {until} < last -> last = {until} :: else -> skip fi"
            yield "    :: else -> skip fi;"
        yield from self.copies.instants()
        if self.stream:
            yield "    if :: machine == 0 && stream == COMPLETE -> machine = streamed"
            yield "    :: else -> skip fi;"

    def kept(self) -> str:
        """What of the external parts a run that is undone has left without saying so."""
        if not self._any:
            return "false"
        left = [f"(added[{disk}] && !left[{disk}])" for disk in self._added()]
        left += [f"({file} && !{word})" for file, word in self._files()]
        left += self.copies.kept()
        return " || ".join([*left, "(UNDER_WAY && !dead)"])


_START = "stream = BEGUN; streamed = 0; stream_file = true;"
_TRACK = "stream = TRACKED; streamed = version; captured = true;"
