"""What QEMU does to external parts: overlays, the stream of machine state, and the nodes it leaves.

Four things about streams are QEMU's, and no design can do anything about them.  When a stopped or
live stream is complete, the nodes are inactive until `cont` (fact 29).  A live one stops the guest and
waits, the nodes still active (fact 30).  A background one saves the instant at which write tracking
comes on, whenever that is; of a guest that was resumed before, it silently is a later one (fact 40).
And a stopped or live one fails when it should end while a disk is copied: the nodes of a job cannot go
inactive (fact 114).

Rules: pure; a function gives a new state, or None where QEMU says no.  A frozen image never changes
but by an undo that merges its overlay into it.
"""

from __future__ import annotations

from planner.explore.instruction import Instruction, SideEffect
from planner.explore.layers import Layers
from planner.explore.state import ExternalState, Setting, State, StreamPlace
from planner.model.operations import Kind
from planner.model.request import Capture

__all__ = ["EXTERNAL_KINDS", "STREAM_KINDS", "OutsideVm", "replaced_in"]

STREAM_KINDS = frozenset({Kind.BEGIN_STREAM_VMSTATE, Kind.END_STREAM_VMSTATE})
EXTERNAL_KINDS = STREAM_KINDS | {Kind.ADD_OVERLAY, Kind.ADD_VMSTATE_NODE, Kind.SWITCH_TO_OVERLAY}


def replaced_in(numbers: tuple[int, ...], place: int, new: int) -> tuple[int, ...]:
    """Numbers with another one at a place."""
    return (*numbers[:place], new, *numbers[place + 1 :])


class OutsideVm:
    """External parts in one setting, as QEMU treats them."""

    def __init__(self, setting: Setting, layers: Layers) -> None:
        self._setting = setting
        self._layers = layers
        self._numbers = {name: number for number, name in enumerate(setting.disks)}
        self._background = setting.capture == Capture.BACKGROUND
        self._leaves_active = any(i.leaves_active for i in setting.instructions)
        self._started_apart = any(i.effect is SideEffect.START_STREAM for i in setting.instructions)

    def start(self) -> ExternalState:
        """What there is before the run."""
        frozen = (-1,) * len(self._setting.disks) if self._setting.overlays else ()
        return ExternalState(frozen=frozen)

    # --- operations ---------------------------------------------------------------------------------

    def operate(
        self, state: State, instruction: Instruction, kind: Kind, disk: int
    ) -> State | None:
        """Do an operation on an external part; None: QEMU refuses it."""
        match kind:
            case Kind.ADD_OVERLAY | Kind.ADD_VMSTATE_NODE:
                return self._add(state, disk)
            case Kind.SWITCH_TO_OVERLAY:
                return self._switch(state, disk)
            case Kind.BEGIN_STREAM_VMSTATE:
                return self._begin(state, instruction)
            case _:
                return self._end(state)

    def _add(self, state: State, disk: int) -> State:
        outside = state.outside
        standing = self._setting.runs_before and not state.running
        return state._replace(
            outside=outside._replace(
                added=outside.added | 1 << disk,
                files=outside.files | 1 << disk,
                slow=outside.slow or standing,
            )
        )

    def is_there(self, state: State, disk: int) -> bool:
        """Whether QEMU has a node of a disk; of the guest's disks it has."""
        return disk != self._setting.own or bool(state.outside.added >> disk & 1)

    def _switch(self, state: State, disk: int) -> State | None:
        outside = state.outside
        if not outside.added >> disk & 1 or outside.frozen[disk] >= 0:
            return None
        base = state.layers[disk]
        return state._replace(
            layers=replaced_in(state.layers, disk, self._layers.overlaid(base)),
            captured=True,
            outside=outside._replace(frozen=replaced_in(outside.frozen, disk, base)),
        )

    def _begin(self, state: State, instruction: Instruction) -> State | None:
        under_way = StreamPlace(state.outside.stream).under_way
        if self._started_apart:
            return state if under_way else None
        if under_way or state.outside.inactive:
            return None  # facts 34 and 36
        after = state._replace(outside=self._started(state.outside))
        tracked = self._background and instruction.waits_for_tracking
        return self.track(after) if tracked else after

    def _started(self, outside: ExternalState) -> ExternalState:
        file = 1 << self._setting.stream_file
        return outside._replace(stream=StreamPlace.BEGUN, streamed=0, files=outside.files | file)

    def track(self, state: State) -> State:
        """Write tracking of a background stream comes on: this instant is saved."""
        outside = state.outside._replace(stream=StreamPlace.TRACKED, streamed=state.version)
        return state._replace(captured=True, outside=outside)

    def _end(self, state: State) -> State | None:
        if not StreamPlace(state.outside.stream).under_way:
            return None
        if self._background:
            waited = self._setting.runs_before and self._setting.runs_after and not state.running
            slow = state.outside.slow or waited
            return state._replace(
                outside=state.outside._replace(stream=StreamPlace.COMPLETE, slow=slow)
            )
        outside = state.outside._replace(stream=StreamPlace.COMPLETE, streamed=state.version)
        if self._leaves_active:
            return state._replace(captured=True, outside=outside)
        if state.copy.jobs & ~state.copy.broken:
            return None  # fact 114
        outside = outside._replace(inactive=True)
        return state._replace(running=False, captured=True, outside=outside)

    def pause(self, state: State) -> State:
        """The guest stops; a live stream that was copying waits from here on."""
        outside = state.outside
        if self._setting.capture != Capture.LIVE or outside.stream != StreamPlace.BEGUN:
            return state
        return state._replace(outside=outside._replace(stream=StreamPlace.HELD))

    def resume(self, state: State) -> State:
        """`cont` makes the nodes active (fact 29)."""
        if not state.outside.inactive:
            return state._replace(running=True)
        return state._replace(running=True, outside=state.outside._replace(inactive=False))

    # --- what QEMU does by itself -------------------------------------------------------------------

    def tracks_late(self, state: State) -> bool:
        """Whether a background stream has begun and its write tracking is still to come."""
        return self._background and state.outside.stream == StreamPlace.BEGUN

    def goes_on(self, state: State) -> State | None:
        """What a stream that nobody waits for comes to; None: it goes nowhere by itself."""
        stream = StreamPlace(state.outside.stream)
        if not stream.under_way or stream is StreamPlace.HELD:
            return None
        if self._setting.capture == Capture.LIVE:
            held = state.outside._replace(stream=StreamPlace.HELD)
            return state._replace(running=False, outside=held)
        if self.tracks_late(state):
            return self.track(state)
        if self._background:
            return state._replace(outside=state.outside._replace(stream=StreamPlace.COMPLETE))
        return self._end(state) or self.broken(state)

    def may_go_inactive(self, state: State) -> bool:
        """Whether the nodes can go inactive between a look at them and what is sent then."""
        after = self.goes_on(state)
        return after is not None and after.outside.inactive

    def broken(self, state: State) -> State:
        """A stream fails or is cancelled: QEMU resumes the guest that it stopped for it."""
        outside = state.outside
        if not StreamPlace(outside.stream).under_way:
            return state
        running = state.running or (
            outside.stream == StreamPlace.HELD and self._setting.runs_before
        )
        return state._replace(
            running=running, outside=outside._replace(stream=StreamPlace.BROKEN, streamed=0)
        )

    def off(self, state: State, disk: int) -> State:
        """A rolled-back transaction takes an overlay off again; the disk was drained meanwhile."""
        outside = state.outside
        if outside.frozen[disk] < 0:
            return state
        return state._replace(
            layers=replaced_in(state.layers, disk, outside.frozen[disk]),
            outside=outside._replace(frozen=replaced_in(outside.frozen, disk, -1)),
        )

    # --- what is no operation -----------------------------------------------------------------------

    def effect(self, state: State, instruction: Instruction) -> State:
        """What an instruction does besides its operations, as soon as it is taken in hand."""
        outside = state.outside
        bit = SideEffect.settings_bit(instruction.name)
        match instruction.effect:
            case SideEffect.NONE | SideEffect.KEEP_STREAM:
                return state
            case SideEffect.START_STREAM:
                outside = self._started(outside)
            case SideEffect.CREATE_STREAM:
                file = self._setting.stream_file
                outside = outside._replace(files=outside.files | 1 << file)
            case SideEffect.CREATE_OVERLAY | SideEffect.CREATE_IMAGE:
                disk = self._numbers[instruction.effect_disk]
                standing = self._setting.runs_before and not state.running
                outside = outside._replace(
                    files=outside.files | 1 << disk, slow=outside.slow or standing
                )
            case SideEffect.REMOVE_NODE:
                outside = outside._replace(added=outside.added & ~(1 << self._setting.own))
            case SideEffect.CHANGE_SETTINGS:
                outside = outside._replace(changed=outside.changed | bit)
            case SideEffect.RESTORE_SETTINGS:
                if not StreamPlace(outside.stream).under_way:  # else QEMU refuses (fact 34)
                    outside = outside._replace(changed=outside.changed & ~bit)
        return state._replace(outside=outside)
