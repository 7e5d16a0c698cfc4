"""How a test spells what is done about copies of disks: their files, their nodes and their jobs.

Rules: pure.  The copy of ``disk0`` is node and job ``copy0``; its file is `FILE` of that number until it
is kept, which a test replaces by its own path.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from planner.explore.instruction import Instruction, SideEffect
from planner.model.operations import Kind

__all__ = ["FILE", "OnHost", "added", "backup", "copy_number", "host_step"]

FILE = "file of copy{}"

_STEPS = {
    (SideEffect.CREATE_COPY, None): "create_copy",
    (SideEffect.KEEP_COPY, None): "keep_copy",
    (SideEffect.NONE, Kind.END_COPY): "end_copy",
}


@frozen
class OnHost:
    """A step of the client's that is no one command: it makes or names a file, or waits for a job.

    Attributes:
        name: The instruction's name.
        does: ``create_copy``, ``keep_copy`` or ``end_copy``.
        number: The number of the disk.
    """

    name: str
    does: str
    number: int


def copy_number(disks: tuple[str, ...], instruction: Instruction) -> int:
    """The number of the one disk that an instruction is about; -1: it is about none, or several."""
    names = {op.disk for op in instruction.operations} | {instruction.effect_disk}
    names &= set(disks)
    return disks.index(names.pop()) if len(names) == 1 else -1


def host_step(disks: tuple[str, ...], instruction: Instruction) -> OnHost | None:
    """An instruction that is no command; None: it is one."""
    kinds = [op.kind for op in instruction.operations]
    what = instruction.effect, kinds[0] if len(kinds) == 1 else None
    number = copy_number(disks, instruction)
    if what not in _STEPS or number < 0:
        return None
    return OnHost(instruction.name, _STEPS[what], number)


def added(number: int) -> Mapping[str, object]:
    """The arguments of `blockdev-add` for the file of a copy."""
    file = {"driver": "file", "filename": FILE.format(number)}
    return {"node-name": f"copy{number}", "driver": "qcow2", "file": file}


def backup(number: int) -> Mapping[str, object]:
    """The data of the action that begins a copy; its job stays until it is dismissed."""
    names = {"job-id": f"copy{number}", "device": f"disk{number}", "target": f"copy{number}"}
    return {**names, "sync": "full", "auto-dismiss": False}
