"""The lines of a story that are about copies of disks."""

from __future__ import annotations

from collections.abc import Callable

from planner.explore.line import CLIENT, GUEST, QEMU, Line
from planner.explore.search import StoryMove
from planner.explore.state import Act, Setting
from planner.model.operations import Kind

__all__ = ["COPY_TELLERS", "operate_copy", "struck_copy"]


def operate_copy(setting: Setting, move: StoryMove, kind: Kind, disk: int) -> Line:
    """QEMU does an operation on a copy, or refuses it."""
    name = setting.disks[disk]
    if move.after.failing:
        return Line(QEMU, CLIENT, _refused(kind, name), "error")
    if kind is Kind.ADD_TARGET:
        return Line(QEMU, name, f"QEMU has a node for the copy of {name}", "add target")
    if kind is Kind.BEGIN_COPY:
        text = f"the copy of {name} begins, at instant {move.after.version}"
        return Line(QEMU, name, text, "copy begins")
    text = f"the copy of {name} is complete: it holds instant {move.after.copy.of[disk]}"
    return Line(QEMU, name, text, "copy complete")


def _refused(kind: Kind, name: str) -> str:
    if kind is Kind.BEGIN_COPY:
        return f"QEMU has no node for the copy of {name}, or a job that copies it already: it fails"
    if kind is Kind.END_COPY:
        return f"no job copies {name}, or the one that did has failed"
    return f"QEMU has no node for the copy of {name}: it fails"


def struck_copy(setting: Setting, kind: Kind, disk: int) -> Line:
    """An error strikes an operation on a copy."""
    name = setting.disks[disk]
    words = {
        Kind.ADD_TARGET: f"the node for the copy of {name} cannot be added",
        Kind.BEGIN_COPY: f"the copy of {name} cannot begin",
        Kind.END_COPY: f"the copy of {name} cannot be written: its job fails",
    }
    return Line(QEMU, name, words[kind], "copy: error", fault=True)


def _cancel(setting: Setting, move: StoryMove) -> Line:
    name = setting.disks[move.action.first]
    text = f"snapplan ends the job that copies {name}"
    return Line(CLIENT, name, text, "job-cancel")


def _close(setting: Setting, move: StoryMove) -> Line:
    name = setting.disks[move.action.first]
    text = f"snapplan takes the node of the copy of {name} out of QEMU"
    return Line(CLIENT, name, text, "blockdev-del")


def _struck(setting: Setting, move: StoryMove) -> Line:
    name = setting.disks[move.action.first]
    text = f"what the guest overwrites on {name} cannot be copied: its own write fails"
    text += ", and it is told so" if move.action.second else ", and it stands"
    return Line(QEMU, GUEST, f"{text} (fact 113)", "guest's write: error", fault=True)


def _cut(setting: Setting, move: StoryMove) -> Line:
    name = setting.disks[move.action.first]
    when = "after" if move.action.second else "before"
    text = f"the connection ends {when} QEMU has ended the copy of {name}, or closed its file"
    return Line(CLIENT, name, text, f"copy: connection lost {when}", fault=True)


COPY_TELLERS: dict[Act, Callable[[Setting, StoryMove], Line]] = {
    Act.CANCEL_COPY: _cancel,
    Act.CLOSE_COPY: _close,
    Act.COPY_STRUCK: _struck,
    Act.COPY_CUT: _cut,
}
