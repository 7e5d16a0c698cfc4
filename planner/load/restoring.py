"""Does what `planner.load.fresh_qemu` decided: the disks first, then what the fresh QEMU is told.

New files come before anything that gives up what is there, so that most failures leave nothing behind
and nothing lost.  The guest runs only when QEMU has read all of its state, on the disks that were made
ready; until then the QEMU is ours, and may be ended at any time.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve

from planner.errors import (
    Interrupted,
    Problem,
    Refused,
    RunFailed,
    UndoIncomplete,
    in_order,
)
from planner.host.left_out import look_at_left_out
from planner.host.process_io import copy_meter, meter_of
from planner.host.processes import process_of
from planner.inspect.before_writing import unwritable
from planner.inspect.offline import OfflineImages, header_problems
from planner.inspect.verifying import ask_images
from planner.load.fresh_qemu import (
    RestoredDisk,
    RestorePlan,
    expected,
    qmp_steps,
    reading_settings,
)
from planner.load.load_checks import plan_load
from planner.load.loading import LoadMachine
from planner.load.started import started_problems
from planner.model.facts import Facts
from planner.model.image import Image
from planner.model.request import RunStateAfter
from planner.parts.accepting import not_accepted
from planner.parts.manifest import Manifest
from planner.parts.needing_vm import unreached_problems, unwritable_problems
from planner.parts.part_image import images_of_vm
from planner.parts.readied import LOSING, Readied
from planner.program.settings import settings_commands
from planner.run.phases import Phase
from planner.run.ports import (
    Backend,
    CommandRefused,
    ConnectionLost,
    Host,
    HostRefused,
    NoReply,
    Reporter,
)
from planner.run.progress import Meter
from planner.run.pump import Pump, ask_facts
from planner.run.reporting import telling
from planner.run.stopping import to_its_end
from planner.run.watching import Watch

__all__ = [
    "RESTORE_TIMEOUT_S",
    "Disks",
    "check_started",
    "look_at_parts",
    "names_taken",
    "run_restored",
]

RESTORE_TIMEOUT_S = 3600.0
"""How long QEMU may take to read a machine state; it may be large."""

_HOST_TIMEOUT_S = 3600.0
_COMMAND_TIMEOUT_S = 60.0
_PASSING = ("getfd", "add-fd")
_LOOK_EACH_S = 0.05


async def look_at_parts(
    manifest: Manifest, images: OfflineImages
) -> tuple[dict[str, dict[str, Image]], tuple[Problem, ...]]:
    """The images that hold the parts, by disk and file, and which cannot be looked at.

    What the VM wrote to since, overlays above frozen images, is nobody's business here.
    """
    found: dict[str, dict[str, Image]] = {}
    problems: list[Problem] = []
    unreached = {problem.subject: problem for problem in unreached_problems(manifest)}
    problems += [*unreached.values(), *unwritable_problems(manifest)]
    for part in manifest.parts:
        for file, image_format in part.images[:1]:
            if part.disk in unreached:
                continue
            try:
                found.setdefault(part.disk, {})[file] = await images.look(file, image_format)
            except NoReply as silent:
                used = "lock" in str(silent)
                code = "image-in-use" if used else "image-unreadable"
                remedy = "end the VM first" if used else ""
                problems.append(Problem(code, part.disk, f"{file}: {silent}", remedy))
    return found, (*problems, *header_problems(manifest, found))


def names_taken(manifest: Manifest, copies: str) -> set[str]:
    """Every path in the folders where new files may be made."""
    folders = {copies} if copies else set()
    folders |= {part.restored_folder for part in manifest.parts if part.restored_folder}
    return {
        str(path)
        for folder in folders
        if Path(folder or "/").is_dir()
        for path in Path(folder or "/").iterdir()
    }


class Disks:
    """Makes the disks of a restore ready, and takes back what can be taken back."""

    def __init__(
        self,
        plan: RestorePlan,
        images: OfflineImages,
        host: Host,
        reporter: Reporter | None = None,
    ) -> None:
        self.plan = plan
        self._images = images
        self._host = host
        self._reporter = telling(reporter)
        self._begun = 0
        self._made: list[RestoredDisk] = []
        self.reverted: list[RestoredDisk] = []
        self.taken_back: RunFailed | None = None

    async def ready(self) -> None:
        """Make them ready: the new files, then the images that are reverted.

        Raises:
            Refused: A disk that is to be reverted cannot be written to; nothing was done.
            RunFailed: Not done, and nothing is left of it (`UndoIncomplete`: disks were reverted).
        """
        await self.make()
        await self.revert()

    async def make(self) -> None:
        """Make the new files, when all that is to be reverted can be; see `ready`."""
        losing = {d.part.disk: d.part.file for d in self.plan.disks if d.how in LOSING}
        problems = await unwritable(losing, self._host)
        if problems:
            message = f"snapshot {self.plan.manifest.tag!r} cannot be restored safely"
            raise Refused(message, problems=problems, code="load-refused")
        await self._each([disk for disk in self.plan.disks if disk.how not in LOSING])

    async def revert(self) -> None:
        """Revert the images that are to be, when all new files are made; see `ready`."""
        await self._each([disk for disk in self.plan.disks if disk.how in LOSING])

    async def _each(self, disks: Sequence[RestoredDisk]) -> None:
        for disk in disks:
            self._begun += 1
            what = f"{disk.how} {disk.part.disk}"
            self._reporter.step(self._begun, len(self.plan.disks), what)
            try:
                await self._metered(disk)
            except asyncio.CancelledError:
                await self.take_back_for_stop()
                raise
            except (HostRefused, NoReply) as failed:
                code = failed.code if isinstance(failed, HostRefused) else "revert-failed"
                words = f"{disk.part.disk}: {failed}"
                raise await self.failure(
                    Problem(code, disk.part.disk, str(failed)), words
                ) from failed

    async def _metered(self, disk: RestoredDisk) -> None:
        """Make one ready, and tell how much of a new file is there."""
        copies = disk.how in (Readied.CONVERT, Readied.COPY)
        watch = Watch(self._reporter, copy_meter(disk.file, disk.part.file) if copies else None)
        watch.measure(Phase.STEPPING, reads=False)
        await to_its_end(watch.metered(self._ready(disk)))

    async def _ready(self, disk: RestoredDisk) -> None:
        part = disk.part
        if disk.how is Readied.REVERT:
            await self._images.revert(part.file, part.plain_id)
            self.reverted.append(disk)
        elif disk.how is not Readied.AS_IT_IS:
            instruction, arguments = part.ready_instruction(disk.how, disk.file)
            await self._host.do(instruction, arguments, _HOST_TIMEOUT_S)
            self._made.append(disk)

    async def take_back_for_stop(self) -> None:
        """Take back what can be taken back, since it is to be stopped; `taken_back` says how it went."""
        cause = Problem("interrupted", self.plan.manifest.tag, "stopped")
        await to_its_end(self.failure(cause, cause.message))

    async def failure(self, cause: Problem, words: str) -> RunFailed:
        """Take back what can be taken back, and say what cannot."""
        self.taken_back = await self._failure(cause, words)
        return self.taken_back

    async def _failure(self, cause: Problem, words: str) -> RunFailed:
        left = [cause]
        for disk in reversed(self._made):
            undo = "remove-overlay" if disk.how is Readied.NEW_OVERLAY else "remove-copy"
            arguments = {"path": disk.file, "base": disk.part.file}
            try:
                await self._host.do(undo, arguments, _HOST_TIMEOUT_S)
            except (HostRefused, NoReply) as failed:
                left.append(Problem("file-left", disk.part.disk, f"{disk.file}: {failed}"))
        self._made.clear()
        tag = self.plan.manifest.tag
        left += [
            Problem("disk-reverted", disk.part.disk, f"it was reverted to {tag!r}")
            for disk in self.reverted
        ]
        if len(left) == 1:
            state = "No QEMU runs; no new file is left, and no disk was reverted."
            kind = Interrupted if cause.code == "interrupted" else RunFailed
            return kind(words, problems=(cause,), code=cause.code, vm_state=state)
        state = (
            "No QEMU runs; do not start one on these disks before another restore has succeeded."
        )
        return UndoIncomplete(
            words, problems=tuple(left), code=cause.code, vm_state=state, left=tuple(left[1:])
        )


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
            _read_stream(plan, backend, facts, wanted, deadline_s or RESTORE_TIMEOUT_S)
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
    images = images_of_vm(facts, await ask_images(backend))
    left_out = look_at_left_out(plan.manifest)
    order = plan_load(expected(plan), facts, images, wanted, left_out, plan.accepted)
    order = evolve(
        order, stops_by=""
    )  # nothing has run in it, so it has no code to forget (fact 76)
    machine = LoadMachine.of(order, deadline_s)
    pump = Pump(machine, backend, reporter=reporter, meter=_reading(plan, backend))
    (outcome := await to_its_end(pump.run(), pump.interrupt)).raise_failure()
    return outcome.run_state


async def _read_stream(
    plan: RestorePlan, backend: Backend, facts: Facts, wanted: RunStateAfter, deadline_s: float
) -> str:
    settings = reading_settings(plan, facts)
    passed: object = None
    for command, arguments in qmp_steps(plan, facts.qemu, settings, passing=True):
        if command in _PASSING and plan.stream is not None:
            await _pass(backend, command, arguments, plan.stream.file)
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
    if wanted is RunStateAfter.RUNNING:
        await backend.execute("cont", {}, _COMMAND_TIMEOUT_S)
        status = await _status(backend)
        if status != "running":
            raise NoReply(f"after `cont` it is {status!r}")
    return status


async def _pass(
    backend: Backend, command: str, arguments: dict[str, object], filename: str
) -> None:
    # A name that another user can change may lead anywhere by now, and QEMU would read what we open.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(filename, flags)
    except OSError as error:
        raise NoReply(f"{filename}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NoReply(f"{filename} is no regular file")
        await backend.execute_with_descriptor(command, arguments, descriptor, _COMMAND_TIMEOUT_S)
    finally:
        os.close(descriptor)


async def _status(backend: Backend) -> str:
    reply = await backend.execute("query-status", {}, _COMMAND_TIMEOUT_S)
    return str(reply.get("status")) if isinstance(reply, dict) else ""
