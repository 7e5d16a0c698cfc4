"""The fresh QEMU of a restore: it is made sure of, given its machine state, and let run.

The guest runs only when QEMU has read all of its state, on the disks that were made ready; until then
the QEMU is ours, and may be ended at any time.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time

from attrs import evolve

from planner.errors import (
    Problem,
    Refused,
    RunFailed,
    in_order,
)
from planner.host.left_out import look_at_left_out
from planner.host.process_io import meter_of
from planner.host.processes import process_of
from planner.inspect.verifying import ask_images, with_images_beside
from planner.load.ended_guest import Wanted
from planner.load.fresh_qemu import (
    RestorePlan,
    expected,
    qmp_steps,
    reading_settings,
)
from planner.load.load_checks import plan_load
from planner.load.loading import LoadMachine
from planner.load.started import started_problems
from planner.model.facts import Facts
from planner.model.libvirt_save import is_whole
from planner.model.request import RunStateAfter
from planner.parts.accepting import not_accepted
from planner.parts.part_image import ImagesByDisk, images_of_vm
from planner.parts.stream import StateStream
from planner.program.settings import settings_commands
from planner.run.phases import Phase
from planner.run.ports import (
    Backend,
    CommandRefused,
    ConnectionLost,
    NoReply,
    Reporter,
)
from planner.run.progress import Meter
from planner.run.pump import Pump, ask_facts
from planner.run.reporting import telling
from planner.run.stopping import to_its_end
from planner.run.watching import Watch

__all__ = ["RESTORE_TIMEOUT_S", "check_started", "let_run", "read_state", "run_restored"]

RESTORE_TIMEOUT_S = 3600.0
"""How long QEMU may take to read a machine state; it may be large."""

_COMMAND_TIMEOUT_S = 60.0
_PASSING = ("getfd", "add-fd")
_LOOK_EACH_S = 0.05


async def run_restored(
    plan: RestorePlan,
    backend: Backend,
    run_state_after: RunStateAfter,
    deadline_s: float | None = None,
    reporter: Reporter | None = None,
) -> str:
    """Give a fresh QEMU its machine state, and let the guest run unless it is to stay paused.

    Returns:
        The run state.

    Raises:
        Refused: It is not the VM that was saved; nothing was loaded.
        RunFailed: QEMU did not take the state (``restore-failed``).
    """
    facts = await check_started(plan, backend)
    wanted = RunStateAfter.PAUSED
    if run_state_after is not RunStateAfter.PAUSED:
        wanted = RunStateAfter.RUNNING
    if plan.loads:
        return await _load(plan, backend, facts, wanted, deadline_s, reporter)
    try:
        (teller := telling(reporter)).step(1, 1, "read the machine state")
        watch = Watch(teller, _reading(plan, backend))
        watch.measure(Phase.STEPPING, reads=True)
        return await watch.metered(
            _read_and_go_on(plan, backend, facts, wanted, deadline_s or RESTORE_TIMEOUT_S)
        )
    except (CommandRefused, ConnectionLost, NoReply) as failed:
        words = f"QEMU did not take the machine state: {failed}"
        problem = Problem("restore-failed", plan.manifest.tag, str(failed))
        raise RunFailed(words, problems=(problem,), code=problem.code) from failed


def _reading(plan: RestorePlan, backend: Backend) -> Meter | None:
    """What counts how much of its machine state a QEMU has read that was started for it."""
    state = plan.manifest.vmstate
    return meter_of(process_of(backend.peer_pid or 0), 0 if state is None else state.state_bytes)


async def check_started(plan: RestorePlan, backend: Backend) -> Facts:
    """Make sure that a QEMU which was just started is the VM that was saved.

    Raises:
        Refused: It is not; it was asked questions only.
    """
    facts = await ask_facts(backend)
    problems = in_order(not_accepted(started_problems(plan, facts), plan.accepted))
    if problems:
        message = "the QEMU that was started is not the VM that was saved"
        raise Refused(message, problems=problems, code="load-refused")
    return facts


async def _load(  # noqa: PLR0913, PLR0917 - all of it is needed
    plan: RestorePlan,
    backend: Backend,
    facts: Facts,
    wanted: RunStateAfter,
    deadline_s: float | None,
    reporter: Reporter | None,
) -> str:
    images: ImagesByDisk = images_of_vm(facts, await ask_images(backend))
    if backend.images is not None:
        images = await with_images_beside(plan.manifest, images, backend.images)
    left_out = look_at_left_out(plan.manifest)
    order = plan_load(expected(plan), facts, images, Wanted(wanted), left_out, plan.accepted)
    order = evolve(
        order, stops_by=""
    )  # nothing has run in it, so it has no code to forget (fact 76)
    machine = LoadMachine.of(order, deadline_s)
    meter = _reading(plan, backend)
    pump = Pump(machine, backend, host=backend.host, reporter=reporter, meter=meter)
    (outcome := await to_its_end(pump.run(), pump.interrupt)).raise_failure()
    return outcome.run_state


async def _read_and_go_on(
    plan: RestorePlan, backend: Backend, facts: Facts, wanted: RunStateAfter, deadline_s: float
) -> str:
    status = await read_state(plan, backend, facts, deadline_s)
    return await _cont(backend) if wanted is RunStateAfter.RUNNING else status


async def let_run(tag: str, backend: Backend) -> str:
    """Let the guest of a fresh QEMU run, whose machine state is read.

    Returns:
        The run state.

    Raises:
        RunFailed: It does not run (``restore-failed``).
    """
    try:
        return await _cont(backend)
    except (CommandRefused, ConnectionLost, NoReply) as failed:
        problem = Problem("restore-failed", tag, str(failed))
        words = f"QEMU has read the machine state and does not let the guest run: {failed}"
        raise RunFailed(words, problems=(problem,), code=problem.code) from failed


async def _cont(backend: Backend) -> str:
    await backend.execute("cont", {}, _COMMAND_TIMEOUT_S)
    status = await _status(backend)
    if status != "running":
        raise NoReply(f"after `cont` it is {status!r}")
    return status


async def read_state(plan: RestorePlan, backend: Backend, facts: Facts, deadline_s: float) -> str:
    """Have a fresh QEMU read the stream of its machine state; its guest does not run yet.

    Args:
        plan: The restore; where it has no stream there is nothing to read.
        backend: QEMU, made sure of (`check_started`).
        facts: What it is.
        deadline_s: How long it may take, in seconds.

    Returns:
        The run state.

    Raises:
        CommandRefused, ConnectionLost, NoReply: It was not read: end that QEMU.
    """
    settings = reading_settings(plan, facts)
    passed: object = None
    for command, arguments in qmp_steps(plan, facts.qemu, settings, passing=True):
        if command in _PASSING and plan.stream is not None:
            await _pass(backend, command, arguments, plan.stream)
            passed = arguments.get("fdset-id")
        else:
            await backend.execute(command, arguments, deadline_s)
    deadline = time.monotonic() + deadline_s
    while (status := await _status(backend)) == "inmigrate":
        if time.monotonic() > deadline:
            raise NoReply(f"it is not read after {deadline_s:g} s")
        await asyncio.sleep(_LOOK_EACH_S)
    if passed is not None:
        await backend.execute("remove-fd", {"fdset-id": passed}, _COMMAND_TIMEOUT_S)
    before = (settings.capabilities_before, settings.parameters_before)
    for command, arguments in settings_commands(*before):
        await backend.execute(command, arguments, _COMMAND_TIMEOUT_S)
    return status


async def _pass(
    backend: Backend, command: str, arguments: dict[str, object], stream: StateStream
) -> None:
    filename = stream.file
    # A name that another user can change may lead anywhere by now, and QEMU would read what we open.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(filename, flags)
    except OSError as error:
        raise NoReply(f"{filename}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NoReply(f"{filename} is no regular file")
        if stream.begins_bytes:
            if not is_whole(os.pread(descriptor, stream.begins_bytes, 0)):
                raise NoReply(f"{filename} does not begin with the header that libvirt wants")
            os.lseek(descriptor, stream.begins_bytes, os.SEEK_SET)
        await backend.execute_with_descriptor(command, arguments, descriptor, _COMMAND_TIMEOUT_S)
    finally:
        os.close(descriptor)


async def _status(backend: Backend) -> str:
    reply = await backend.execute("query-status", {}, _COMMAND_TIMEOUT_S)
    return str(reply.get("status")) if isinstance(reply, dict) else ""
