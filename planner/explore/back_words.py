"""The words for what happens in a load or a delete."""

from __future__ import annotations

from planner.explore.back import BackState
from planner.explore.instruction import Instruction
from planner.explore.line import CLIENT, GUEST, QEMU, Line
from planner.model.operations import Kind, Operation

__all__ = ["BROKEN", "cut", "promise", "words"]

BROKEN = {
    Kind.REVERT_DISK: "QEMU cannot revert (a dirty bitmap, an I/O error: fact 20)",
    Kind.READ_VMSTATE: "the machine state is read in part, and then fails, from",
    Kind.DELETE_DISK_SNAPSHOT: "QEMU cannot delete the snapshot of",
}


def promise(instruction: Instruction) -> str:
    """What an instruction promises of order, in brackets; empty where it does one thing."""
    if len(instruction.operations) < 2:
        return ""
    order = "in a promised order" if instruction.ordered else "in no promised order"
    return f" ({order}{', all or nothing' if instruction.atomic else ''})"


def cut(name: str, text: str) -> Line:
    """The connection ends."""
    return Line(QEMU, CLIENT, text, f"{name}: connection lost", fault=True)


_DOES = {
    Kind.PAUSE_GUEST: "stops the guest",
    Kind.RESUME_GUEST: "lets the guest run",
    Kind.RESET_GUEST: "resets the guest",
    Kind.REVERT_DISK: "reverts",
    Kind.READ_VMSTATE: "reads the machine state from",
    Kind.DELETE_DISK_SNAPSHOT: "deletes the snapshot of",
}


def words(operation: Operation, done: BackState | None) -> Line:
    """An operation is done, or QEMU cannot do it."""
    what = f"{_DOES[operation.kind]} {operation.disk}".strip()
    target = operation.disk or GUEST
    if done is None:
        return Line(QEMU, target, f"QEMU cannot: it {what}", f"{operation.kind}: error")
    return Line(QEMU, target, f"QEMU {what}", str(operation.kind))
