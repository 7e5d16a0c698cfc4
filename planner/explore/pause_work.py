"""What a design does while the guest stands still, and when QEMU's monitor is silent, in one run.

No time is in it, only the work: whether all of the memory is written in the pause, how many disks are
captured there, how many commands are sent.  `planner.compare.predicting` makes milliseconds of it, and
`planner.explore.limits` asks for less of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from planner.explore.acts import Act
from planner.explore.instruction import SideEffect
from planner.explore.limits import InPause
from planner.explore.search import StoryMove
from planner.explore.standing import is_silent, memory_in_pause
from planner.explore.state import Setting
from planner.model.operations import Kind

__all__ = ["PauseWork", "pause_work"]

_DISK = (Kind.SNAPSHOT_DISK, Kind.SWITCH_TO_OVERLAY, Kind.BEGIN_COPY)
_ON_THE_HOST = (
    *(SideEffect.CREATE_STREAM, SideEffect.CREATE_OVERLAY, SideEffect.CREATE_IMAGE),
    *(SideEffect.CREATE_COPY, SideEffect.KEEP_STREAM, SideEffect.KEEP_COPY),
)


@frozen
class PauseWork:
    """The work.

    Attributes:
        memory: What of the memory is written, at most.
        disks: How many disks are captured one after another.
        in_transaction: How many in a transaction.
        commands: How many commands begin while the guest stands.
        silent: Instructions during which the monitor is silent for as long as memory is written.
    """

    memory: InPause = InPause.NOTHING
    disks: int = 0
    in_transaction: int = 0
    commands: int = 0
    silent: tuple[str, ...] = ()

    @property
    def stands(self) -> bool:
        """Whether anything is done in a pause at all."""
        return bool(self.disks or self.in_transaction or self.commands) or bool(
            self.memory is not InPause.NOTHING
        )


def pause_work(setting: Setting, moves: Sequence[StoryMove]) -> PauseWork:
    """The work of one run, which is one without faults for an example of a search."""
    memory, disks, drained, commands = InPause.NOTHING, 0, 0, 0
    silent: list[str] = []
    for move in moves:
        stands = setting.runs_before and not move.before.running
        if move.action.act == Act.SEND:
            effect = setting.instructions[move.action.first].effect
            commands += stands and effect not in _ON_THE_HOST
        if move.action.act != Act.OPERATE:
            continue
        instruction = setting.instructions[move.action.first]
        kind = instruction.operations[move.action.second].kind
        if is_silent(instruction, kind):
            silent.append(instruction.name)
        if stands and kind in _DISK:
            drained += instruction.atomic
            disks += not instruction.atomic
        memory = max(memory, memory_in_pause(setting, move.before, kind), key=_rank)
    return PauseWork(memory, disks, drained, commands, tuple(dict.fromkeys(silent)))


def _rank(memory: InPause) -> int:
    return memory.rank
