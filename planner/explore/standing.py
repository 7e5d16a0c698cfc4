"""What of the memory an operation writes while the guest stands still, and the limits on that.

Theory: QEMU writes machine state in its main loop, so its monitor answers nothing meanwhile (fact 2),
unless an instruction asserts that it does (`monitor-answers`).  A migration to a file answers.  What a
live one has left when the guest stops is small, a background one has only to write-protect the memory
(fact 39), and so has whoever writes the state of a pause that is over (`vmstate-of: pause`).

Rules: pure.  What is told of a design and what is judged are this one reading.  A guest that stood
before the run is not kept still by it.
"""

from __future__ import annotations

from planner.explore.end import End
from planner.explore.instruction import Instruction, VmstateOf
from planner.explore.limits import InPause, LimitsBroken
from planner.explore.state import Setting, State, StreamPlace
from planner.model.operations import Kind
from planner.model.request import Capture

__all__ = [
    "IN_PAUSE_SAID",
    "is_silent",
    "memory_in_pause",
    "monitor_answers",
    "pause_within",
    "with_limits",
]

IN_PAUSE_SAID = {
    InPause.NOTHING: "no memory is written",
    InPause.TRACKING: "the memory is write-protected",
    InPause.REST: "what is left of the memory is written",
    InPause.ALL: "all of the memory is written",
}
"""What is done to the memory, in words."""


def memory_in_pause(setting: Setting, before: State, kind: Kind) -> InPause:
    """What of the memory an operation writes while the guest stands still, from the state before it."""
    if not setting.runs_before:
        return InPause.NOTHING
    stands = not before.running
    match kind:
        case Kind.WRITE_VMSTATE if stands:
            return InPause.ALL
        case Kind.PAUSE_GUEST if _protects_at_pause(setting) and not stands:
            return InPause.TRACKING
        case Kind.BEGIN_STREAM_VMSTATE if setting.capture == Capture.BACKGROUND:
            return InPause.TRACKING
        case Kind.END_STREAM_VMSTATE if stands:
            held = before.outside.stream == StreamPlace.HELD
            return InPause.REST if held else InPause.ALL
        case Kind.END_STREAM_VMSTATE if _stops_at_end(setting):
            return InPause.REST
        case _:
            return InPause.NOTHING


def _protects_at_pause(setting: Setting) -> bool:
    return any(each.vmstate_of is VmstateOf.PAUSE for each in setting.instructions)


def _stops_at_end(setting: Setting) -> bool:
    """Whether the end of a stream stops a guest that runs."""
    leaves = any(each.leaves_active for each in setting.instructions)
    return setting.capture != Capture.BACKGROUND and not leaves


def is_silent(instruction: Instruction, kind: Kind) -> bool:
    """Whether the monitor answers nothing during an operation, for as long as memory is written."""
    return kind is Kind.WRITE_VMSTATE and not instruction.monitor_answers


def with_limits(setting: Setting, before: State, after: State, kind: Kind) -> State:
    """The state after an operation, where what it breaks is noted; what QEMU refuses writes nothing."""
    if after.failing:
        return after
    limits, broken, at = setting.limits, after.broken, before.at
    wrote = memory_in_pause(setting, before, kind)
    if not broken.paused and wrote.rank > limits.pause_at_most.rank:
        broken = broken._replace(paused=at + 1, written=wrote.rank)
    silent = limits.monitor_answers and is_silent(setting.instructions[at], kind)
    if silent and not broken.silent:
        broken = broken._replace(silent=at + 1)
    return after._replace(broken=broken)


def pause_within(end: End) -> str:
    """Why too much of the memory was written in the pause; empty: it was not."""
    broken: LimitsBroken = end.state.broken
    if not broken.paused:
        return ""
    name = end.setting.instructions[broken.paused - 1].name
    said = IN_PAUSE_SAID[list(InPause)[broken.written]]
    limit = end.setting.limits.pause_at_most
    return f"{said} by {name} while the guest stands still; asked for was at most: {limit.value}"


def monitor_answers(end: End) -> str:
    """During what the monitor is silent; empty: it is not."""
    silent = end.state.broken.silent
    if not silent:
        return ""
    name = end.setting.instructions[silent - 1].name
    return f"the monitor answers nothing while {name} writes the memory (fact 2)"
