"""Runs one sequence of commands on a real QEMU and on the simulated one, up to the first difference.

Each command goes to both; then what came back and all that can be seen of the two VMs is compared.  What
comes after a difference follows from it, so a sequence ends there; it also ends where the simulated QEMU
says that it does not model a command, and where both QEMUs end, as some commands have them do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from attrs import frozen

from backends.qemu_facts.lab import images
from backends.qemu_facts.lab.qemu import DidNotStart, QemuVm, start_qemu
from backends.qemu_facts.lab.qmp import QmpClosed, QmpTimeout
from backends.qemu_facts.lab.topology import DiskSpec, Topology
from planner.errors import Problem, RunFailed
from planner.experiment.experiment import COMMANDS
from planner.experiment.lockstep.drawing import KINDS, Command, Sequence
from planner.experiment.lockstep.drawing_copies import CopySequence
from planner.experiment.lockstep.drawing_images import ImageSequence
from planner.experiment.lockstep.shown import named, only_what_differs, view, without_sizes
from planner.experiment.lockstep.sides import DEAD, RealSide, SimulatedSide
from planner.experiment.result import Difference, Lockstepped, SequenceEnd
from planner.semantics import NOT_MODELLED

__all__ = ["Asked", "run_sequence"]

_DRAWS: dict[str, type[Sequence]] = dict(
    zip(COMMANDS, (Sequence, CopySequence, ImageSequence), strict=True)
)

_TOPOLOGY = Topology(
    disks=tuple(DiskSpec(name, kind) for name, kind in KINDS.items()), memory_mib=16
)
_OVERLAY_BYTES = 8 * 2**20
_DISMISSED = 0.8
"""How often a job that is there after a command is dismissed at once."""
_LONGEST = 2000


@frozen
class Asked:
    """Which sequence is run, and on which QEMU.

    Attributes:
        seed: What the commands follow from.
        length: How many there are at most, the dismissals of jobs not counted.
        commands: What they are about, one of `COMMANDS`.
        binary: QEMU's program; None: the one under test.
        accelerator: QEMU's accelerator; None: the one of the tests.
    """

    seed: int
    length: int
    commands: str = COMMANDS[0]
    binary: str | None = None
    accelerator: str | None = None


def run_sequence(asked: Asked, *, until: float = float("inf")) -> Lockstepped:
    """Run a sequence on a QEMU of its own, which is gone afterwards.

    Args:
        asked: Which one.
        until: When its time is up, in seconds of the monotonic clock.

    Raises:
        RunFailed: QEMU did not start (``qemu-not-started``), does not answer (``qemu-silent``), or was
            ended by somebody (``qemu-ended``), or its replies are not in their shape
            (``reply-malformed``).
        TimeoutError: Its time was up.
        BadInput: QEMU is older than what is simulated.
        OSError: There is no room for its images.
    """
    try:
        with start_qemu(replace(_TOPOLOGY, accelerator=asked.accelerator), asked.binary) as vm:
            for name in _DRAWS[asked.commands].FILES:
                images.create(None, vm.directory / f"{name}.qcow2", "qcow2", _OVERLAY_BYTES)
            return _compared(vm, asked, until)
    except DidNotStart as error:
        raise _failed("qemu-not-started", str(error)) from error
    except QmpTimeout as error:
        if time.monotonic() > until:
            raise TimeoutError from error
        raise _failed("qemu-silent", f"QEMU does not answer: {str(error)[:200]}") from error


def _compared(vm: QemuVm, asked: Asked, until: float) -> Lockstepped:
    sequence = _DRAWS[asked.commands](asked.seed, vm.version)
    version = vm.qmp.greeting["QMP"]["version"]["qemu"]
    real = RealSide(vm, until)
    simulated = SimulatedSide(f"{version['major']}.{version['minor']}", asked.seed)
    done, end = 0, SequenceEnd.WHOLE
    differences: tuple[Difference, ...] = ()
    for command in _commands(sequence, real, asked.length):
        if time.monotonic() > until:
            raise TimeoutError
        done += 1
        end, differences = _step(command, real, simulated)
        if end is not SequenceEnd.WHOLE:
            break
    words = f"{version['major']}.{version['minor']}.{version['micro']}"
    return Lockstepped(end, done, differences, words)


def _commands(sequence: Sequence, real: RealSide, length: int) -> Iterator[Command]:
    """What is drawn, and after each command dismissals of most jobs that are there."""
    for _ in range(length):
        yield sequence.next()
        for job in real.query("query-jobs"):
            if sequence.random.random() < _DISMISSED:
                yield "job-dismiss", {"id": job["id"]}


def _step(
    command: Command, real: RealSide, simulated: SimulatedSide
) -> tuple[SequenceEnd, tuple[Difference, ...]]:
    expected, found = real.run(*command), simulated.run(*command)
    if NOT_MODELLED in str(found[0]):
        return SequenceEnd.NOT_MODELLED, ()
    pairs = [("outcome", without_sizes(named(expected[0])), without_sizes(named(found[0])))]
    ended = [outcome[0] == DEAD for outcome, _ in (expected, found)]
    if all(ended):
        return SequenceEnd.QEMU_ENDED, ()
    if not any(ended):
        pairs += [("events", expected[1], found[1]), *_views(real, simulated)]
    name, arguments = command
    told = _short({"execute": name, "arguments": arguments})
    differences = tuple(
        Difference(told, what, *map(_short, only_what_differs(one, other)))
        for what, one, other in pairs
        if one != other
    )
    return (SequenceEnd.DIFFERS if differences else SequenceEnd.WHOLE), differences


def _views(real: RealSide, simulated: SimulatedSide) -> list[tuple[str, Any, Any]]:
    here = view(simulated)
    try:
        with real.read():
            there = view(real)
    except QmpClosed:
        return [("QEMU", real.how_it_ended(), "runs")]
    return [(key, there[key], here[key]) for key in there]


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _failed(code: str, message: str) -> RunFailed:
    return RunFailed.of(Problem(code, "qemu", message))
