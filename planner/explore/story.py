"""A run as a story: what happens, who does it to whom, in words that a QEMU developer would use.

Rules: a line for each move, in the order of the run; nothing is told that the run does not show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from planner.explore.copies import COPY_KINDS
from planner.explore.freezing import FREEZING_KINDS
from planner.explore.instruction import Instruction, OnExistingTag, SideEffect, VmstateIn
from planner.explore.layers import Layers, own_parts
from planner.explore.line import CLIENT, GUEST, IMAGES, OTHER, QEMU, Line
from planner.explore.outside import EXTERNAL_KINDS
from planner.explore.search import StoryMove
from planner.explore.state import KILLED, Act, ClientPhase, React, Setting
from planner.explore.story_copies import COPY_TELLERS, operate_copy, struck_copy
from planner.explore.story_outside import (
    OUTSIDE_TELLERS,
    aborts,
    effect_words,
    freezing,
    operate_outside,
    struck_outside,
)
from planner.model.operations import Kind
from planner.semantics import Qcow2Image

__all__ = ["CLIENT", "GUEST", "IMAGES", "OTHER", "QEMU", "Line", "tell"]


def tell(setting: Setting, layers: Layers, moves: Sequence[StoryMove]) -> tuple[Line, ...]:
    """Tell a run."""
    teller = _Teller(setting, layers)
    others = {**OUTSIDE_TELLERS, **COPY_TELLERS}
    return tuple(
        others[move.action.act](setting, move)
        if move.action.act in others
        else _TELLERS[move.action.act](teller, move)
        for move in moves
    )


class _Teller:
    def __init__(self, setting: Setting, layers: Layers) -> None:
        self.setting = setting
        self._layers = layers

    def disk(self, number: int) -> str:
        return self.setting.disks[number]

    def image(self, number: int, layers: Sequence[int]) -> Qcow2Image:
        return self._layers[layers[number]]

    def instruction(self, move: StoryMove) -> Instruction:
        return self.setting.instructions[move.action.first]

    def place(self, move: StoryMove) -> tuple[Kind, int]:
        """What kind of operation it is about, and which disk."""
        operation = self.instruction(move).operations[move.action.second]
        disks = self.setting.disks
        return operation.kind, disks.index(operation.disk) if operation.disk in disks else -1

    # --- guest and other clients ---

    def guest(self, move: StoryMove) -> Line:
        missed = [d for d, v in move.after.skipped if v == move.after.version]
        kept = (
            f", except {', '.join(map(self.disk, missed))}, which is not written" if missed else ""
        )
        text = (
            f"the guest works: its memory changes and it writes to the disks{kept}; that is instant "
            f"{move.after.version}"
        )
        return Line(GUEST, IMAGES, text, f"writes (instant {move.after.version})")

    def foreign_resume(self, _: StoryMove) -> Line:
        text = "another QMP client sends `cont`: the guest runs inside the pause"
        return Line(OTHER, QEMU, text, "cont", fault=True)

    def foreign_tag(self, move: StoryMove) -> Line:
        disk = self.disk(move.action.first)
        text = f"another QMP client makes a snapshot of the very same tag on {disk}"
        return Line(OTHER, disk, text, "snapshot of the same tag", fault=True)

    # --- the client ---

    def send(self, move: StoryMove) -> Line:
        instruction = self.instruction(move)
        does = "does" if instruction.effect in _MADE else "sends"
        text = f"snapplan {does} `{instruction.name}`{_promise(instruction)}"
        text += effect_words(instruction)
        if move.after.failing:
            text += "; a disk holds the tag already, so QEMU refuses"
        elif move.after.layers != move.before.layers:
            text += "; QEMU first deletes any snapshot with that tag, also one of another program"
        elif self._second(move, instruction):
            text += "; not every disk holds the tag, so QEMU does not refuse (fact 7)"
        return Line(CLIENT, QEMU, text, instruction.name)

    def _second(self, move: StoryMove, instruction: Instruction) -> bool:
        if instruction.existing_tag is not OnExistingTag.REFUSE_IF_ALL:
            return False
        disks = [self.setting.disks.index(d) for d in instruction.disks(Kind.SNAPSHOT_DISK)]
        return any(self._layers.holds_tag(move.before.layers[d]) for d in disks)

    def refuse(self, move: StoryMove) -> Line:
        name = self.instruction(move).name
        text = f"snapplan sends `{name}`, and QEMU refuses it before it did anything"
        if self.instruction(move).effect in _MADE:
            text = f"snapplan cannot do `{name}`"
        return Line(CLIENT, QEMU, text, f"{name}: refused", fault=True)

    def cut_before(self, move: StoryMove) -> Line:
        name = self.instruction(move).name
        text = f"the connection ends before QEMU reads `{name}`; snapplan cannot know that"
        return Line(CLIENT, QEMU, text, f"{name}: connection lost before", fault=True)

    def cut_after(self, move: StoryMove) -> Line:
        name = self.instruction(move).name
        text = f"QEMU has done `{name}`, and the connection ends; snapplan cannot know that"
        return Line(QEMU, CLIENT, text, f"{name}: connection lost after", fault=True)

    def answer(self, move: StoryMove) -> Line:
        name = self.instruction(move).name
        made = self.instruction(move).effect in _MADE
        text = f"`{name}` is done" if made else f"QEMU reports `{name}` done"
        if move.before.woken:
            text += "; but snapplan has seen a RESUME that it did not send, and gives up"
        return Line(QEMU, CLIENT, text, "done")

    def report_failure(self, move: StoryMove) -> Line:
        text = f"QEMU reports `{self.instruction(move).name}` failed"
        return Line(QEMU, CLIENT, text, "error")

    def look(self, _: StoryMove) -> Line:
        return Line(CLIENT, QEMU, "snapplan looks at the VM to see what is there", "look")

    def delete(self, move: StoryMove) -> Line:
        disk = self.disk(move.action.first)
        if move.after.dead == KILLED:
            return aborts(f"deletes its part of {disk}", move)
        return Line(CLIENT, disk, f"snapplan deletes its part of {disk}, by id", "delete own part")

    def delete_refused(self, move: StoryMove) -> Line:
        disk = self.disk(move.action.first)
        text = f"QEMU refuses to delete the part of {disk}; snapplan will report it"
        return Line(CLIENT, disk, text, "delete: refused", fault=True)

    def delete_cut(self, move: StoryMove) -> Line:
        disk = self.disk(move.action.first)
        when = "after" if move.action.second else "before"
        text = f"the connection ends {when} QEMU deletes the part of {disk}"
        return Line(CLIENT, disk, text, f"delete: connection lost {when}", fault=True)

    def restore(self, _: StoryMove) -> Line:
        word = "cont" if self.setting.runs_before else "stop"
        return Line(CLIENT, QEMU, f"snapplan sends `{word}`: the run state is as before", word)

    def restore_refused(self, _: StoryMove) -> Line:
        word = "cont" if self.setting.runs_before else "stop"
        text = f"QEMU refuses `{word}`; snapplan reports the run state"
        return Line(CLIENT, QEMU, text, f"{word}: refused", fault=True)

    def repair(self, move: StoryMove) -> Line:
        disk = self.disk(move.action.first)
        if move.after.left != move.before.left:
            text = f"the image of {disk} holds several snapshots of the tag: snapplan reports it"
            return Line(CLIENT, disk, text, "left alone")
        text = f"snapplan deletes its part from the image of {disk}, with qemu-img"
        return Line(CLIENT, disk, text, "qemu-img snapshot -d")

    def end(self, move: StoryMove) -> Line:
        words = {
            "DONE": "the run is done: snapplan has heard no error",
            "UNDONE": "snapplan reports: failed, undone",
            "ABANDONED": "nobody comes after it: what is there stays",
            "INCOMPLETE": "snapplan reports: failed, undone in part, and says what is left",
        }
        name = ClientPhase(move.after.phase).name
        return Line(CLIENT, CLIENT, words[name], name.lower())

    def die(self, _: StoryMove) -> Line:
        return Line(QEMU, QEMU, "QEMU dies", "dies", fault=True)

    # --- QEMU ---

    def operate(self, move: StoryMove) -> Line:
        kind, disk = self.place(move)
        if kind is Kind.PAUSE_GUEST:
            return Line(QEMU, GUEST, "QEMU stops the guest", "stop")
        if kind is Kind.RESUME_GUEST:
            return Line(QEMU, GUEST, "QEMU lets the guest run", "resume")
        if kind in FREEZING_KINDS:
            return freezing(move, kind)
        if kind in EXTERNAL_KINDS:
            return operate_outside(self.setting, move, kind, disk)
        if kind in COPY_KINDS:
            return operate_copy(self.setting, move, kind, disk)
        name = self.disk(disk)
        if move.after.failing and move.before.outside.inactive:
            text = f"the nodes are inactive, so QEMU says that {name} does not support this"
            return Line(QEMU, name, f"{text} (fact 29)", "error")
        if kind is Kind.WRITE_VMSTATE:
            return Line(QEMU, name, self._write(move, disk), "write vmstate")
        if kind is Kind.SNAPSHOT_DISK:
            return Line(QEMU, name, f"QEMU snapshots {name}{self._taken(move, disk)}", "snapshot")
        if kind is Kind.DISCARD_VMSTATE:
            return Line(QEMU, name, self._discard(move, disk), "discard vmstate")
        text = f"QEMU deletes the snapshot of {name} that the request gives up"
        return Line(QEMU, name, text, "delete old")

    def _write(self, move: StoryMove, disk: int) -> str:
        name = self.disk(disk)
        if move.after.failing:
            return f"QEMU should write the vmstate into a snapshot of {name} that is not there: it fails"
        if self.instruction(move).vmstate_in is VmstateIn.SNAPSHOT:
            part = own_parts(self.image(disk, move.after.layers))[-1]
            instant = part.vmstate.machine if part.vmstate else 0
            return f"QEMU writes the machine state of instant {instant} into the snapshot of {name}"
        vmstate = self.image(disk, move.after.layers).vmstate
        instant = vmstate.machine if vmstate else 0
        text = f"QEMU writes the machine state of instant {instant} into the active layer of {name}"
        if own_parts(self.image(disk, move.before.layers)):
            text += ", too late for the snapshot that it has taken"
        return text

    def _taken(self, move: StoryMove, disk: int) -> str:
        if disk != self.setting.vmstate:
            return f", at instant {move.after.version}"
        if self.image(disk, move.before.layers).vmstate is None:
            return "; its active layer holds no vmstate, so neither does the snapshot"
        return "; the snapshot takes the vmstate along"

    def _discard(self, move: StoryMove, disk: int) -> str:
        text = f"QEMU discards the vmstate from the active layer of {self.disk(disk)}"
        image = self.image(disk, move.before.layers)
        if image.vmstate is None:
            return text + ", where there is none"
        if not any(part.vmstate for part in own_parts(image)):
            return text + "; no snapshot holds it, so it is lost"
        return text

    def fail(self, move: StoryMove) -> Line:
        kind, disk = self.place(move)
        if kind in FREEZING_KINDS:
            text = f"the guest agent fails at {kind}"
            return Line(QEMU, GUEST, text, "agent: error", fault=True)
        if kind in EXTERNAL_KINDS:
            return struck_outside(self.setting, kind, disk)
        if kind in COPY_KINDS:
            return struck_copy(self.setting, kind, disk)
        name = self.disk(disk)
        if kind is Kind.WRITE_VMSTATE:
            text = (
                f"a write error strikes while QEMU writes the vmstate to {name}: a piece is there"
            )
            return Line(QEMU, name, text, "write vmstate: error", fault=True)
        text = f"a write error strikes while QEMU snapshots {name}: it has no new snapshot"
        return Line(QEMU, name, text, "snapshot: error", fault=True)

    def react(self, move: StoryMove) -> Line:
        kind, number = move.action.first, move.action.second
        if kind == React.RESUME:
            return Line(QEMU, GUEST, "QEMU lets the guest run again", "resume")
        if kind == React.CLEAN:
            name = self.disk(number)
            text = f"QEMU cleans up: it deletes the first snapshot of the tag on {name}, if any"
            return Line(QEMU, name, text, "delete first match")
        operation = self.setting.instructions[move.before.at].operations[number]
        text = f"QEMU takes {operation} back"
        return Line(QEMU, operation.disk, text, f"take back {operation.kind.value}")


_MADE = (
    *(SideEffect.CREATE_STREAM, SideEffect.KEEP_STREAM),
    *(SideEffect.CREATE_OVERLAY, SideEffect.CREATE_IMAGE),
    *(SideEffect.CREATE_COPY, SideEffect.KEEP_COPY),
)
"""What snapplan does itself, on this machine."""


def _promise(instruction: Instruction) -> str:
    if len(instruction.operations) < 2:
        return ""
    order = "in a promised order" if instruction.ordered else "in no promised order"
    return f" ({order}{', all or nothing' if instruction.atomic else ''})"


_TELLERS: dict[Act, Callable[[_Teller, StoryMove], Line]] = {
    Act.GUEST: _Teller.guest,
    Act.SEND: _Teller.send,
    Act.OPERATE: _Teller.operate,
    Act.ANSWER: _Teller.answer,
    Act.REACT: _Teller.react,
    Act.REPORT_FAILURE: _Teller.report_failure,
    Act.LOOK: _Teller.look,
    Act.DELETE: _Teller.delete,
    Act.RESTORE: _Teller.restore,
    Act.END: _Teller.end,
    Act.REPAIR: _Teller.repair,
    Act.REFUSE: _Teller.refuse,
    Act.FAIL: _Teller.fail,
    Act.CUT_BEFORE: _Teller.cut_before,
    Act.CUT_AFTER: _Teller.cut_after,
    Act.DIE: _Teller.die,
    Act.DELETE_REFUSED: _Teller.delete_refused,
    Act.DELETE_CUT: _Teller.delete_cut,
    Act.RESTORE_REFUSED: _Teller.restore_refused,
    Act.FOREIGN_RESUME: _Teller.foreign_resume,
    Act.FOREIGN_TAG: _Teller.foreign_tag,
}
