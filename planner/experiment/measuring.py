"""A case that measures: one snapshot of a VM of its own, in one design."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any

from attrs import asdict

from planner.compare.measuring import Measuring
from planner.errors import Problem, Refused, RunFailed
from planner.experiment.experiment import Case
from planner.experiment.machine import Machine, Shape, running_machine
from planner.experiment.place import file_system_of
from planner.experiment.requested import request_of
from planner.experiment.result import CaseResult, Measured, State
from planner.run.pump import ask_facts

__all__ = ["measure"]

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def measure(case: Case) -> CaseResult:
    """Run a case that measures.

    Raises:
        Refused: The design cannot do it on this QEMU.
        SnapplanError: The run failed, or QEMU did; the VM is gone in any case.
        OSError: There is no room for its images.
    """
    return asyncio.run(_stopped_once(_within_its_time(case)))


async def _stopped_once(work: Coroutine[Any, Any, CaseResult]) -> CaseResult:
    """Await the work; the first signal that would stop us ends its QEMU, and more change nothing.

    What a signal raises inside of a loop would end the task that tells of a connection that broke, too,
    and then nobody hears that QEMU has ended.

    Raises:
        KeyboardInterrupt: It was stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        return await work
    loop, task, stopped = asyncio.get_running_loop(), asyncio.ensure_future(work), asyncio.Event()

    def stop() -> None:
        if not stopped.is_set():
            stopped.set()
            task.cancel()

    before = {number: signal.getsignal(number) for number in _STOPS}
    heard = [number for number, found in before.items() if found is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopped.is_set():
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in heard:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


async def _within_its_time(case: Case) -> CaseResult:
    try:
        async with asyncio.timeout(case.time_limit_s):
            return await _measured(case)
    except TimeoutError:
        problem = Problem(
            "case-too-long",
            "time-limit-s",
            f"it did not end in {case.time_limit_s} s",
            "raise time-limit-s in the file",
        )
        raise RunFailed.of(problem) from None


async def _measured(case: Case) -> CaseResult:
    inputs, settings = case.inputs, case.settings
    shape = Shape(
        binary=inputs["binary"],
        accelerator=inputs["accelerator"],
        disks=int(settings["disks"]),
        memory_mib=int(settings["memory-mib"]),
        dirty_mib_per_s=int(settings["dirty-mib-per-s"]),
    )
    design = str(settings["design"])
    async with running_machine(shape) as machine:
        return await _with_machine(case, machine, design)


async def _with_machine(case: Case, machine: Machine, design: str) -> CaseResult:
    facts = await ask_facts(machine.backend)
    version = str(facts.qemu)
    wanted = case.inputs["version"]
    if wanted and version != wanted:
        message = f"it is {version} now, and was {wanted} when the experiment began"
        raise Refused.of(Problem("qemu-version-differs", str(case.settings["qemu"]), message))
    streams = machine.folder / "streams"
    streams.mkdir(mode=0o700)
    measuring = Measuring(
        machine.backend,
        request_of(int(case.settings["disks"])),
        machine.backend.images,
        machine.backend.host,
        str(streams),
    )
    # A wish to stop ends QEMU: nothing of this VM needs to be undone.
    task = asyncio.ensure_future(measuring.measure(facts, (design,)))
    try:
        (run,) = (await asyncio.shield(task))[design]
    except asyncio.CancelledError:
        machine.process.end()
        await asyncio.gather(task, return_exceptions=True)
        raise
    machine.check_guest()
    figures = Measured(
        **asdict(run, recurse=False),
        qemu_version=version,
        file_system=file_system_of(machine.folder),
    )
    return CaseResult(case.id, dict(case.settings), case.round, State.DONE, measured=figures)
