"""A client that dies, in the Promela model: what QEMU goes on with, and who comes after it."""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.instruction import Instruction
from planner.explore.promela_outside import PromelaOutside
from planner.explore.state import ClientDeath, Setting

__all__ = ["THAW_IN_UNDO", "PromelaOrphans"]

THAW_IN_UNDO = (
    "  :: atomic { phase == UNDOING && frozen && !left_thaw ->",
    "       frozen = false; running = true; sent_cont = true }",
    "  :: atomic { phase == UNDOING && frozen && !left_thaw && budget > 0 ->",
    "       budget--; left_thaw = true }",
)
"""A thaw that is owed comes before anything else is undone."""

_IDLE = "sent = false; done = 0; failing = false; stopped = false; takeback = 0"


class PromelaOrphans:
    """The pieces of one setting."""

    def __init__(self, setting: Setting, outside: PromelaOutside) -> None:
        self._may_die = setting.client_death is not ClientDeath.NEVER
        self._recovered = setting.client_death is ClientDeath.RECOVERED
        self._outside = outside

    def settle(self, at: int, instruction: Instruction) -> Iterator[str]:
        """QEMU is done with an instruction, and nobody hears it."""
        if not self._may_die:
            return
        whole = (1 << len(instruction.operations)) - 1
        mine = f"phase == ORPHANED && !dead && sent && at == {at}"
        failed = "(failing && takeback == 0 && !(stopped && !running))"
        yield f"  :: atomic {{ {mine} && ((!failing && done == {whole}) || {failed}) -> {_IDLE} }}"
        if self._recovered and instruction.in_stream:
            under_way = f"(done & {instruction.in_stream}) != 0"
            yield f"  :: atomic {{ {mine} && {under_way} -> {_IDLE}; {_LOOK} }}"

    def moves(self) -> Iterator[str]:
        """The client dies; then nobody comes, or somebody recovers."""
        if not self._may_die:
            return
        yield "  :: atomic { phase < ORPHANED && budget > 0 -> budget--; phase = ORPHANED }"
        yield "  :: atomic { phase == ORPHANED && !dead && budget > 0 -> budget--; dead = true;"
        yield f"       running = false; {_IDLE}; captured = false; frozen = false }}"
        if not self._recovered:
            ready = f"(dead || (!sent && !({self._outside.may_go_on()})))"
            yield f"  :: atomic {{ phase == ORPHANED && {ready} -> phase = ABANDONED }}"
            return
        yield "  :: atomic { phase == ORPHANED && dead -> phase = OFFLINE; captured = false }"
        idle = "phase == ORPHANED && !dead && !sent"
        yield f"  :: atomic {{ {idle} && at == K -> phase = STEPPING; captured = false }}"
        yield f"  :: atomic {{ {idle} && at < K -> {_LOOK} }}"


_LOOK = "phase = LOOKING; captured = false"
