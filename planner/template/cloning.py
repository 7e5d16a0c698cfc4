"""Starts a clone: overlays, a QEMU on them that waits, and the devices' state when it is to go on.

    check the template's files - make the overlays - start QEMU - look whether its memory is its own
      - (a spare waits here) - pass the devices' state - capability off - record - cont

The guest runs only when everything before is known to be right; until then the QEMU is ours, and may be
ended at any time.  What is asked is little, since each question costs as much as the state itself: a
line that is the template's own makes the machine that was looked at when the template was made.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from attrs import define, evolve, field

from planner.errors import Problem, Refused, RunFailed, SnapplanError, in_order
from planner.host.evidence import digest_of, record_of
from planner.host.processes import Process
from planner.load.starting import Launch, StartedQemu
from planner.model.facts_replies import version_of
from planner.model.file_record import FileRecord
from planner.parts.manifest import Manifest
from planner.parts.overlay import FrozenImage
from planner.parts.template import Template
from planner.program.program import DESCRIPTOR_NAME
from planner.program.resolution import descriptor_set
from planner.run.ports import Backend, CommandRefused, ConnectionLost, Host, HostRefused, NoReply
from planner.store.finding import find_backend
from planner.store.restore_records import RestoredFile
from planner.template.clone_plan import (
    ClonePlan,
    is_evidently_same,
    memory_seen_problems,
    template_disk_problems,
)

__all__ = [
    "Waiting",
    "check_template",
    "end_clone",
    "files_of",
    "first_failure",
    "go_on",
    "quit_clone",
    "start_waiting",
    "sync",
    "take_over",
]

_Result = TypeVar("_Result")

_START_S = 60.0
_COMMAND_S = 60.0
_HOST_S = 60.0
_LOOK_EACH_S = 0.001
_IGNORE_SHARED = "x-ignore-shared"
_SET_SINCE = (8, 2)
"""From which version on QEMU reads a stream from a descriptor of a set (fact 75)."""
_AGAIN = "make the template again; --no-template restores without it"


@define
class Waiting:
    """A QEMU that was started for a clone, and waits for the devices' state.

    Attributes:
        plan: The clone.
        started: The process; None: it is not started yet, or was taken over from the store.
        backend: The connection; None: there is none yet.
        files: The overlays that were made.
    """

    plan: ClonePlan
    started: StartedQemu | None = None
    backend: Backend | None = None
    files: tuple[RestoredFile, ...] = field(default=())


def check_template(manifest: Manifest, template: Template) -> None:
    """Look whether every file that a clone needs is what it was when the template was made.

    The devices' state is small, and read; of the others length, number and time count, and only where
    these are others the content decides.

    Raises:
        Refused: One is not, or is not there (``template-changed``).
    """
    problems = [*template_disk_problems(manifest, template)]
    below = (each for part in manifest.of(FrozenImage) for each in part.recorded_files)
    records = {**{each.file: each.record for each in below}, **dict(template.records)}
    for file, was in records.items():
        if was.known and not _is_same(file, was, read=file == template.state.file):
            what = "is no longer what it was" if record_of(file).known else "is not there"
            problems.append(Problem("template-changed", file, f"{file} {what}", _AGAIN))
    if problems:
        message = f"the template of {manifest.tag!r} cannot be used"
        raise Refused(message, problems=in_order(problems), code="template-changed")


def _is_same(file: str, was: FileRecord, *, read: bool) -> bool:
    now = record_of(file)
    if now.size_bytes != was.size_bytes or not now.known:
        return False
    if is_evidently_same(was, now) and not (read and was.sha256):
        return True
    return bool(was.sha256) and record_of(file, digest=True).sha256 == was.sha256


def files_of(plan: ClonePlan) -> tuple[RestoredFile, ...]:
    """What is recorded of a clone's overlays before they are made."""
    return tuple(
        RestoredFile(
            disk.part.disk,
            disk.file,
            "qcow2",
            disk.base,
            overlay=True,
            instead_of=disk.part.overlay_file if isinstance(disk.part, FrozenImage) else "",
        )
        for disk in plan.disks
    )


async def start_waiting(
    waiting: Waiting,
    host: Host,
    launch: Launch,
    started: Callable[[int], None],
    look: Callable[[Backend], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Make the overlays, start QEMU on them, and make sure of it; what is made, `waiting` says.

    Args:
        waiting: Of a clone that is recorded.
        host: Makes the overlays.
        launch: Starts QEMU.
        started: Told of its process at once, while it comes up.
        look: Looks at the machine as well, where the line is not the template's own.

    Raises:
        RunFailed: An overlay could not be made, or QEMU did not start (``clone-failed``).
        Refused: It is not as a clone must be.
    """
    plan = waiting.plan
    await _make_overlays(waiting, host)
    waiting.started = await launch(plan.words, plan.socket)
    started(pid := waiting.started.pid)
    waiting.backend = await waiting.started.connect(plan.socket, _START_S)
    if waiting.started.pid != pid:  # a script's, or with -daemonize
        started(waiting.started.pid)
    await _guarded(waiting, _make_sure(plan, waiting.backend))
    if look is not None:
        await _guarded(waiting, look(waiting.backend))


async def take_over(waiting: Waiting, process: Process | None) -> None:
    """Connect to a QEMU that waits already, and make sure of it.

    Args:
        waiting: It; `files` are those that were recorded.
        process: The process that it was.

    Raises:
        CannotConnect: It does not answer.
        Refused: Another QEMU listens there, or it is not as a clone must be.
    """
    connect, place = find_backend(waiting.plan.socket)
    waiting.backend = backend = await connect(place)
    if process is None or backend.peer_pid not in (None, process.pid):
        words = "another process listens at the socket of the spare"
        problem = Problem("clone-refused", waiting.plan.socket, words)
        raise Refused.of(problem)
    await _guarded(waiting, _make_sure(waiting.plan, backend))


async def _make_overlays(waiting: Waiting, host: Host) -> None:
    for recorded, disk in zip(files_of(waiting.plan), waiting.plan.disks, strict=True):
        size = disk.part.virtual_size_bytes
        told = {"path": disk.file, "base": disk.base, "base-format": disk.base_format}
        try:
            said = await host.do("make-clone-overlay", {**told, "size": size}, _HOST_S)
        except (HostRefused, NoReply) as failed:
            code = failed.code if isinstance(failed, HostRefused) else "clone-failed"
            problem = Problem(code, disk.part.disk, str(failed))
            raise RunFailed.of(problem) from failed
        inode = said.get("inode")
        made = evolve(recorded, inode=inode if isinstance(inode, int) else 0)
        waiting.files = (*waiting.files, made)


async def go_on(
    waiting: Waiting, record: Callable[[], None] | None, *, run: bool, deadline_s: float = 60.0
) -> str:
    """Give a waiting QEMU the devices' state, and let its guest run.

    Args:
        waiting: It.
        record: Writes down, before the guest runs, that it will.
        run: Whether the guest is to run.
        deadline_s: How long reading the state may take, in seconds.

    Returns:
        The run state.

    Raises:
        RunFailed: It did not take the state; end it.
        Refused: The state is not the template's.
    """
    return await _guarded(waiting, _go_on(waiting, record, run=run, deadline_s=deadline_s))


async def end_clone(waiting: Waiting, host: Host) -> tuple[Problem, ...]:
    """End a clone's QEMU and remove its overlays.

    Returns:
        Which files are left, each with why.
    """
    if waiting.backend is not None:
        await waiting.backend.close()
    if waiting.started is not None:
        await asyncio.to_thread(waiting.started.end)
    left = []
    for made in waiting.files:
        told = {"path": made.file, "inode": made.inode}
        try:
            await host.do("remove-clone-overlay", told, _HOST_S)
        except (HostRefused, NoReply) as failed:
            left.append(Problem("file-left", made.disk, f"{made.file}: {failed}"))
    return tuple(left)


async def quit_clone(waiting: Waiting) -> None:
    """Have a clone's QEMU end in good order, so that what its guest wrote is in its overlays."""
    if waiting.backend is None:
        return
    with suppress(CommandRefused, ConnectionLost, NoReply):
        await waiting.backend.execute("quit", {}, _COMMAND_S)
    if waiting.started is not None:
        await asyncio.to_thread(waiting.started.wait, _START_S)


async def sync(waiting: Waiting, host: Host) -> None:
    """Write the overlays of a clone that is to stay back to the disk."""
    for made in waiting.files:
        await host.do("sync-clone-overlay", {"path": made.file}, _HOST_S)


async def _guarded(waiting: Waiting, work: Coroutine[Any, Any, _Result]) -> _Result:
    """What QEMU answers or does not answer, as an error that says what it wrote."""
    try:
        return await work
    except (CommandRefused, ConnectionLost, NoReply) as failed:
        said = "" if waiting.started is None else waiting.started.said()
        words = f"{failed}; QEMU says: {said}" if said else str(failed)
        problem = Problem("clone-failed", waiting.plan.manifest.tag, words)
        message = f"QEMU did not take the template: {words}"
        raise RunFailed(message, problems=(problem,), code=problem.code) from failed


async def _ask(backend: Backend, *asked: tuple[str, dict[str, object]]) -> list[object]:
    """Ask several things at once; QEMU answers them in their order."""
    return await asyncio.gather(*(backend.execute(c, a, _COMMAND_S) for c, a in asked))


async def _make_sure(plan: ClonePlan, backend: Backend) -> None:
    names = ("share", "mem-path", "size")
    asked: list[tuple[str, dict[str, object]]] = [
        ("qom-get", {"path": f"/objects/{one.id}", "property": name})
        for one in plan.template.memory
        for name in names
    ]
    try:
        version, status, *properties = await _ask(
            backend, ("query-version", {}), ("query-status", {}), *asked
        )
    except CommandRefused as refused:
        words = f"its memory cannot be looked at: {refused}"
        problem = Problem("template-memory", plan.manifest.tag, words)
        raise Refused(str(problem), problems=(problem,), code="clone-refused") from refused
    ids = (one.id for one in plan.template.memory)
    seen = {
        one: dict(zip(names, properties[at : at + 3], strict=True))
        for at, one in zip(range(0, len(properties), 3), ids, strict=True)
    }
    problems = tuple(
        memory_seen_problems(plan.template, version_of(version), _status(status), seen)
    )
    if problems:
        message = "the QEMU that was started is no clone of the template"
        code = problems[0].code if len(problems) == 1 else "clone-refused"
        raise Refused(message, problems=problems, code=code)


def _status(reply: object) -> str:
    return str(reply.get("status")) if isinstance(reply, dict) else ""


async def _go_on(
    waiting: Waiting, record: Callable[[], None] | None, *, run: bool, deadline_s: float
) -> str:
    template, backend = waiting.plan.template, waiting.backend
    if backend is None:
        raise NoReply("it is not connected")
    by_set = (template.qemu.major, template.qemu.minor) >= _SET_SINCE
    number = descriptor_set(template.state.file)
    source = f"file:/dev/fdset/{number}" if by_set else f"fd:{DESCRIPTOR_NAME}"
    descriptor = _open_state(template)
    try:
        await backend.execute("migrate-set-capabilities", _ignoring(on=True), _COMMAND_S)
        passing: tuple[str, dict[str, object]] = ("getfd", {"fdname": DESCRIPTOR_NAME})
        if by_set:
            passing = ("add-fd", {"fdset-id": number, "opaque": DESCRIPTOR_NAME})
        await backend.execute_with_descriptor(*passing, descriptor, _COMMAND_S)
    finally:
        os.close(descriptor)
    await backend.execute("migrate-incoming", {"uri": source}, _COMMAND_S)
    deadline = time.monotonic() + deadline_s
    while (status := _status(await backend.execute("query-status", {}, _COMMAND_S))) == "inmigrate":
        if time.monotonic() > deadline:
            raise NoReply(f"it is not read after {deadline_s:g} s")
        await asyncio.sleep(_LOOK_EACH_S)
    after: list[tuple[str, dict[str, object]]]
    after = [("migrate-set-capabilities", _ignoring(on=False))]
    after += [("remove-fd", {"fdset-id": number})] if by_set else []
    await _ask(backend, *after)
    if record is not None:
        record()
    if not run:
        return status
    _, now = await _ask(backend, ("cont", {}), ("query-status", {}))
    if _status(now) != "running":
        raise NoReply(f"after `cont` it is {_status(now)!r}")
    return "running"


def _ignoring(*, on: bool) -> dict[str, object]:
    return {"capabilities": [{"capability": _IGNORE_SHARED, "state": on}]}


def _open_state(template: Template) -> int:
    """The devices' state, open, and just what was recorded: QEMU reads what was looked at."""
    file, was = template.state.file, template.state.record
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(file, flags)
    except OSError as error:
        raise NoReply(f"{file}: {error.strerror}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or (was.sha256 and digest_of(descriptor) != was.sha256):
        os.close(descriptor)
        problem = Problem("template-changed", file, f"{file} is no longer what it was")
        raise Refused.of(problem)
    return descriptor


def first_failure(results: Sequence[object]) -> BaseException | None:
    """What several clones failed of; the first that is no mere cancellation."""
    failures = [each for each in results if isinstance(each, BaseException)]
    told = [each for each in failures if isinstance(each, SnapplanError)]
    others = [each for each in failures if not isinstance(each, asyncio.CancelledError)]
    return next(iter((*told, *others, *failures)), None)
