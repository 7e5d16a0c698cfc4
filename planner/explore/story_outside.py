"""The lines of a story that are about external parts: overlays, streams, settings, files."""

from __future__ import annotations

from collections.abc import Callable

from planner.explore.instruction import Instruction, SideEffect
from planner.explore.line import CLIENT, GUEST, IMAGES, QEMU, Line
from planner.explore.search import StoryMove
from planner.explore.state import KILLED, Act, ClientPhase, Setting, State, StreamPlace
from planner.model.operations import Kind
from planner.model.request import Capture

__all__ = [
    "OUTSIDE_TELLERS",
    "aborts",
    "effect_words",
    "freezing",
    "operate_outside",
    "struck_outside",
]

_EFFECTS = {
    SideEffect.NONE: "",
    SideEffect.START_STREAM: "; the stream is to begin, and write tracking is not on yet",
    SideEffect.KEEP_STREAM: "; the file has its name now",
    SideEffect.CREATE_STREAM: "; the file has a temporary name until it is complete",
    SideEffect.CREATE_OVERLAY: "; QEMU knows nothing of it yet",
    SideEffect.CREATE_IMAGE: "; QEMU knows nothing of it yet",
    SideEffect.CREATE_COPY: ", with all its room; QEMU knows nothing of it yet",
    SideEffect.REMOVE_TARGET: "; QEMU has closed the copy's file",
    SideEffect.KEEP_COPY: "; the copy has its name now",
    SideEffect.REMOVE_NODE: "; QEMU has closed the image of the machine state",
    SideEffect.CHANGE_SETTINGS: "; the VM's migration settings are what the capture needs",
    SideEffect.RESTORE_SETTINGS: "; the VM's migration settings are as before",
}


def effect_words(instruction: Instruction) -> str:
    """What sending an instruction without operations does."""
    of = f" for {instruction.effect_disk}" if instruction.effect_disk else ""
    return of + _EFFECTS[instruction.effect]


def operate_outside(setting: Setting, move: StoryMove, kind: Kind, disk: int) -> Line:
    """QEMU does an operation on an external part, or refuses it."""
    name = setting.disks[disk] if disk >= 0 else IMAGES
    if move.after.failing:
        return _refused(kind, name, move.before)
    if kind is Kind.ADD_VMSTATE_NODE:
        return Line(QEMU, name, f"QEMU has the node {name} for machine state alone", "add node")
    if kind is Kind.ADD_OVERLAY:
        return Line(QEMU, name, f"QEMU has a node of the new overlay for {name}", "add overlay")
    if kind is Kind.SWITCH_TO_OVERLAY:
        text = (
            f"QEMU puts the overlay on {name}: its image is frozen at instant {move.after.version}"
        )
        return Line(QEMU, name, text, "switch to overlay")
    if kind is Kind.BEGIN_STREAM_VMSTATE:
        return _begun(setting, move.after)
    return _ended(move.after)


def _refused(kind: Kind, name: str, before: State) -> Line:
    if kind is Kind.END_STREAM_VMSTATE and StreamPlace(before.outside.stream).under_way:
        text = "a disk is copied, and the nodes of a job cannot go inactive: the stream fails (fact 114)"
        return Line(QEMU, IMAGES, text, "stream fails")
    words = {
        Kind.ADD_OVERLAY: f"QEMU has no node for the overlay of {name}: it fails",
        Kind.SWITCH_TO_OVERLAY: f"QEMU knows no overlay for {name} yet: it fails",
        Kind.BEGIN_STREAM_VMSTATE: "a migration is under way, or was completed: it fails (fact 36)",
    }
    return Line(QEMU, CLIENT, words.get(kind, "no stream is under way: it fails"), "error")


def _begun(setting: Setting, state: State) -> Line:
    if state.outside.stream == StreamPlace.TRACKED:
        text = f"the stream begins; write tracking is seen to be on, at instant {state.outside.streamed}"
    elif setting.capture == Capture.BACKGROUND:
        text = "the stream is to begin; write tracking is not on yet"
    elif setting.capture == Capture.LIVE:
        text = "the stream begins while the guest runs"
    else:
        text = "the stream begins"
    return Line(QEMU, IMAGES, text, "stream begins")


def _ended(state: State) -> Line:
    text = f"the stream is complete, with the machine state of instant {state.outside.streamed}"
    if state.outside.inactive:
        text += "; the nodes are inactive now (fact 29)"
    return Line(QEMU, IMAGES, text, "stream complete")


def struck_outside(setting: Setting, kind: Kind, disk: int) -> Line:
    """An error strikes an operation on an external part."""
    if kind is Kind.ADD_VMSTATE_NODE:
        name = setting.disks[disk]
        return Line(QEMU, name, f"the node {name} cannot be added", "add: error", fault=True)
    if kind is Kind.ADD_OVERLAY:
        name = setting.disks[disk]
        return Line(QEMU, name, f"the overlay of {name} cannot be added", "add: error", fault=True)
    if kind is Kind.SWITCH_TO_OVERLAY:
        name = setting.disks[disk]
        text = f"an error strikes while QEMU puts the overlay on {name}"
        return Line(QEMU, name, text, "switch: error", fault=True)
    text = "a write error strikes the stream: what is in the file cannot be loaded"
    return Line(QEMU, IMAGES, text, "stream: error", fault=True)


def _file(setting: Setting, number: int) -> str:
    if number == setting.stream_file:
        return "the stream's file"
    if number == setting.own:
        return "the image of the machine state"
    of = "copy" if setting.copies >> number & 1 else "overlay"
    return f"the {of}'s file of {setting.disks[number]}"


def _cancel(_: Setting, move: StoryMove) -> Line:
    text = "snapplan cancels the stream, which is still under way"
    if move.after.running and not move.before.running:
        text += "; QEMU resumes the guest that it had stopped for it"
    return Line(CLIENT, QEMU, text, "migrate_cancel")


def _activate(_: Setting, __: StoryMove) -> Line:
    text = (
        "snapplan sends `cont`, so that the nodes are active before anything touches them (fact 35)"
    )
    return Line(CLIENT, QEMU, text, "cont")


def aborts(doing: str, move: StoryMove) -> Line:
    """QEMU dies of what is sent to an inactive node."""
    late = move.action.second
    why = "but the stream has just ended, and the nodes are" if late else "whose nodes are"
    text = f"snapplan {doing}, {why} inactive: QEMU aborts (fact 35)"
    return Line(CLIENT, QEMU, text, "aborts")


def _commit(setting: Setting, move: StoryMove) -> Line:
    disk = move.action.first
    name = setting.disks[disk]
    if move.after.dead == KILLED and not move.before.dead:
        return aborts(f"merges the overlay of {name}", move)
    if disk == setting.own:
        text = f"snapplan takes the node {name} out of QEMU"
    elif move.before.outside.frozen[disk] < 0:
        text = f"snapplan removes the node of the overlay for {name}, which is on no disk"
    elif "commit-overlays" in setting.undo:
        text = f"snapplan merges the overlay of {name} into its base, and takes it off"
    else:
        text = f"snapplan takes the overlay of {name} off, with what the guest wrote into it"
    return Line(CLIENT, name, text, "take overlay off")


def _commit_cut(setting: Setting, move: StoryMove) -> Line:
    name = setting.disks[move.action.first]
    when = "after" if move.action.second else "before"
    did = "taken out the node" if move.action.first == setting.own else "merged the overlay of"
    text = f"the connection ends {when} QEMU has {did} {name}"
    return Line(CLIENT, name, text, f"merge: connection lost {when}", fault=True)


def _remove_file(setting: Setting, move: StoryMove) -> Line:
    text = f"snapplan removes {_file(setting, move.action.first)}"
    return Line(CLIENT, IMAGES, text, "remove file")


def _put_back(_: Setting, __: StoryMove) -> Line:
    return Line(CLIENT, QEMU, "snapplan puts the migration settings back", "settings back")


def _track(_: Setting, move: StoryMove) -> Line:
    text = f"write tracking comes on: QEMU saves the machine state of instant {move.after.version}"
    if move.after.running:
        text += ", for which it stops the guest a moment, and says nothing of it (fact 40)"
    return Line(QEMU, GUEST, text, "tracking on")


def _go_on(_: Setting, move: StoryMove) -> Line:
    if move.after.outside.stream == StreamPlace.HELD:
        text = "the stream, which goes on alone, reaches pre-switchover: QEMU stops the guest"
    elif move.after.outside.stream == StreamPlace.TRACKED:
        text = "write tracking of the stream, which goes on alone, comes on"
    else:
        text = "the stream, which goes on alone, is complete"
        text += "; the nodes are inactive now" if move.after.outside.inactive else ""
    return Line(QEMU, IMAGES, text, "stream goes on")


def _cut_inside(setting: Setting, move: StoryMove) -> Line:
    name = setting.instructions[move.action.first].name
    text = f"the connection ends while QEMU works on `{name}`, which goes on without it"
    return Line(QEMU, CLIENT, text, f"{name}: connection lost inside", fault=True)


def _undo_refused(setting: Setting, move: StoryMove) -> Line:
    act, number = move.action.first, move.action.second
    what = {
        Act.ACTIVATE: "`cont` is refused; snapplan sends it again",
        Act.THAW: "the agent does not answer the thaw; snapplan will report it",
        Act.PUT_BACK: "QEMU refuses the settings; snapplan will report it",
        Act.REMOVE_FILE: f"{_file(setting, number)} cannot be removed; snapplan will report it",
    }
    if act in (Act.CANCEL_COPY, Act.CLOSE_COPY):
        text = f"the copy of {setting.disks[number]} does not end; snapplan will report it"
        return Line(CLIENT, QEMU, text, "copy: refused", fault=True)
    if act in what:
        return Line(CLIENT, QEMU, what[Act(act)], "refused", fault=True)
    name = setting.disks[number]
    what_not = "take out the node" if number == setting.own else "merge the overlay of"
    text = f"QEMU cannot {what_not} {name}; snapplan will report it"
    return Line(CLIENT, name, text, "merge: refused", fault=True)


def freezing(move: StoryMove, kind: Kind) -> Line:
    """The agent freezes or thaws, or does not answer."""
    does = "freezes" if kind is Kind.FREEZE_FILESYSTEMS else "thaws"
    text = f"the guest's agent {does} the file systems"
    if move.after.failing:
        why = "does not run" if not move.before.running else "has them frozen already"
        text = f"the guest {why}, so its agent does not answer"
    return Line(QEMU, GUEST, text, f"{does[:-1]}")


def _thaw(_: Setting, move: StoryMove) -> Line:
    text = "snapplan has the agent thaw the guest's file systems"
    if not move.before.running:
        text += ", for which it lets the guest run"
    return Line(CLIENT, GUEST, text, "thaw")


def _client_dies(_: Setting, __: StoryMove) -> Line:
    return Line(CLIENT, CLIENT, "snapplan dies, and sends nothing more", "dies", fault=True)


def _settle(setting: Setting, move: StoryMove) -> Line:
    name = setting.instructions[move.action.first].name
    how = "has failed" if move.before.failing else "is done"
    return Line(QEMU, QEMU, f"`{name}` {how}, and nobody hears it", "nobody hears it")


def _recover(_: Setting, move: StoryMove) -> Line:
    text = "`snapplan recover` reads the journal of the dead run"
    if move.after.phase == ClientPhase.STEPPING:
        text += ": every step was answered, so it finishes"
    return Line(CLIENT, QEMU, text, "recover")


OUTSIDE_TELLERS: dict[Act, Callable[[Setting, StoryMove], Line]] = {
    Act.CANCEL: _cancel,
    Act.ACTIVATE: _activate,
    Act.COMMIT: _commit,
    Act.COMMIT_CUT: _commit_cut,
    Act.REMOVE_FILE: _remove_file,
    Act.PUT_BACK: _put_back,
    Act.TRACK: _track,
    Act.GO_ON: _go_on,
    Act.CUT_INSIDE: _cut_inside,
    Act.UNDO_REFUSED: _undo_refused,
    Act.THAW: _thaw,
    Act.CLIENT_DIES: _client_dies,
    Act.SETTLE: _settle,
    Act.RECOVER: _recover,
}
