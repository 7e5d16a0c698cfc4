"""How long a design's pause will be, by a stated model: no measurement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from planner.explore.limits import InPause
from planner.model.operations import Kind
from planner.model.request import Capture
from planner.program.program import Program

if TYPE_CHECKING:
    from planner.explore.pause_work import PauseWork  # with the whole explorer, which no save needs

__all__ = ["Prediction", "predict", "predict_work"]

_STATE_BYTES_PER_S = 800 * 2**20
_JOB_DISK_MS = 1.0
_DOWNTIME_LIMIT_MS = 300  # QEMU's default
_TRACKING_MS_PER_GIB = 55
_TRANSACTION_DISK_MS = 2.0
_ROUND_TRIP_MS = 0.2
_CAPTURES = (Kind.SNAPSHOT_DISK, Kind.SWITCH_TO_OVERLAY)


@frozen
class Prediction:
    """How long the guest will stand still, by a model: no measurement.

    The model: memory at 800 MiB/s (fact 43), 1 ms for each disk in a job and 2 ms in a transaction
    (fact 16), 0.2 ms for each round trip inside the pause.  Memory that the guest never wrote costs
    nothing, so with the whole memory it is an upper bound of its kind; figures differ by machine.
    A live capture stands still for QEMU's downtime limit, a background one for 55 ms a GiB, which is
    what write tracking takes (`specs/pause.md`).

    Attributes:
        besides_ms: All but writing the machine state, in milliseconds.
        machine_state_ms: Writing the machine state; None: the VM's memory is not known.
    """

    besides_ms: float
    machine_state_ms: float | None


def predict(program: Program, sent_in_pause: int, memory_bytes: int | None) -> Prediction | None:
    """Predict the pause of a program; None: it pauses nothing."""
    if not program.resolution.pauses:
        return None
    disks_ms = 0.0
    for step in program.steps:
        disks = sum(operation.kind in _CAPTURES for operation in step.covers)
        disks_ms += disks * (_TRANSACTION_DISK_MS if step.atomic else _JOB_DISK_MS)
    besides = disks_ms + _ROUND_TRIP_MS * sent_in_pause
    state: float | None = 0.0
    if program.resolution.has_machine_state:
        state = _state_ms(program, memory_bytes)
    return Prediction(round(besides, 1), None if state is None else round(state, 1))


def _state_ms(program: Program, memory_bytes: int | None) -> float | None:
    """How long the machine state keeps the guest still, in milliseconds; None: it is not known."""
    stream = program.resolution.stream
    if stream is not None and stream.capture is Capture.LIVE:
        return float(dict(stream.settings.parameters).get("downtime-limit", _DOWNTIME_LIMIT_MS))
    tracked = stream is not None and stream.capture is Capture.BACKGROUND
    return _memory_ms(memory_bytes, tracked=tracked)


def predict_work(work: PauseWork, memory_bytes: int | None) -> Prediction | None:
    """Predict the pause of a design that is only a file, by the same model; None: it pauses nothing."""
    if not work.stands:
        return None
    disks_ms = work.disks * _JOB_DISK_MS + work.in_transaction * _TRANSACTION_DISK_MS
    besides = disks_ms + _ROUND_TRIP_MS * work.commands
    state: float | None = 0.0
    if work.memory is InPause.REST:
        state = float(_DOWNTIME_LIMIT_MS)
    elif work.memory is not InPause.NOTHING:
        state = _memory_ms(memory_bytes, tracked=work.memory is InPause.TRACKING)
    return Prediction(round(besides, 1), None if state is None else round(state, 1))


def _memory_ms(memory_bytes: int | None, *, tracked: bool) -> float | None:
    if memory_bytes is None:
        return None
    if tracked:
        return memory_bytes / 2**30 * _TRACKING_MS_PER_GIB
    return memory_bytes * 1000 / _STATE_BYTES_PER_S
