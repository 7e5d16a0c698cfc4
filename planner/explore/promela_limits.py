"""Limits on the pause in the Promela model: two more variables, and two more properties.

Written from the setting, as `planner.explore.promela` is.  Of a limit that nobody asks for nothing is
in the model.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.explore.instruction import Instruction, VmstateOf
from planner.explore.limits import InPause
from planner.explore.state import Setting
from planner.model.operations import Kind
from planner.model.request import Capture

__all__ = ["PromelaLimits"]


class PromelaLimits:
    """The pieces of one setting."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._limits = setting.limits
        self._tracks = any(i.vmstate_of is VmstateOf.PAUSE for i in setting.instructions)
        self._leaves_active = any(i.leaves_active for i in setting.instructions)

    def declared(self) -> str:
        """The variables: each is set once and for all where its limit is broken."""
        return "".join(f"bool bad_{p.replace('-', '_')};\n" for p in self._limits.asked)

    def noted(self, instruction: Instruction, kind: Kind) -> str:
        """What an operation breaks, to be noted before it is done."""
        text = ""
        over = self._over(kind)
        if over:
            text += f"if :: {over} -> bad_pause_within = true :: else -> skip fi; "
        silent = kind is Kind.WRITE_VMSTATE and not instruction.monitor_answers
        if silent and self._limits.monitor_answers:
            text += "bad_monitor_answers = true; "
        return text

    def _over(self, kind: Kind) -> str:
        """When an operation writes more in the pause than was asked for; empty: never."""
        if not (self._setting.runs_before and "pause-within" in self._limits.asked):
            return ""
        return " || ".join(f"({when})" for when, wrote in self._writes(kind) if self._above(wrote))

    def _above(self, wrote: InPause) -> bool:
        least_first = (InPause.NOTHING, InPause.TRACKING, InPause.REST, InPause.ALL)
        return least_first.index(wrote) > least_first.index(self._limits.pause_at_most)

    def _writes(self, kind: Kind) -> Iterator[tuple[str, InPause]]:
        """When an operation writes how much of the memory while the guest stands still."""
        background = self._setting.capture == Capture.BACKGROUND
        if kind is Kind.WRITE_VMSTATE:
            yield "!running", InPause.ALL
        elif kind is Kind.PAUSE_GUEST and self._tracks:
            yield "running", InPause.TRACKING
        elif kind is Kind.BEGIN_STREAM_VMSTATE and background:
            yield "true", InPause.TRACKING
        elif kind is Kind.END_STREAM_VMSTATE:
            yield "!running && stream != HELD", InPause.ALL
            yield "!running && stream == HELD", InPause.REST
            if not background and not self._leaves_active:
                yield "running", InPause.REST
