"""`snapplan load` without a running VM: shows a restore, makes its disks ready, or starts its QEMU."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

import click
from attrs import frozen

from backends.copies import RestoringHost
from backends.images import QemuImages
from backends.launch import Launched, launch
from planner.cli.asking import ask_person, can_ask
from planner.cli.manifests import FoundManifest, read_again, store_of
from planner.cli.reporter import TerminalReporter
from planner.cli.stopping import cancelled_by_signals
from planner.errors import BadInput, Problem, Refused, SnapplanError
from planner.host.evidence import look_at_files, stream_sizes
from planner.host.files import stamps
from planner.host.host_clock import HostClock
from planner.host.left_out import look_at_left_out
from planner.load.command_line import fill_template
from planner.load.fresh_qemu import RestorePlan, plan_restore
from planner.load.recording import RestoreRecord
from planner.load.restoring import (
    Disks,
    check_started,
    look_at_parts,
    names_taken,
    run_restored,
)
from planner.model.facts import Facts
from planner.model.request import RunStateAfter
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted
from planner.parts.file_checks import file_notes
from planner.parts.manifest import Manifest
from planner.parts.recorded_files import FoundFile
from planner.present.restore_view import (
    restore_text,
    restore_to_plain,
    restored_text,
    restored_to_plain,
)
from planner.recover.pending_images import check_images_free
from planner.run.consent import decide_and_ask
from planner.run.ports import Backend
from planner.run.stopping import to_its_end
from planner.store.restores import numbers_taken
from planner.store.store import Store, VmStore

__all__ = ["RestoreWish", "is_restore", "restore"]

_START_S = 60.0
_Result = TypeVar("_Result")


@frozen
class RestoreWish:
    """What the command line asks for.

    Attributes:
        store: Where manifests are.
        offline: Whether the disks are made ready, and no more.
        template: QEMU's command line; empty: none is started.
        socket: Where the new QEMU is to listen; empty: where the old one did.
        copies: Folder for copies; empty: images are reverted.
        yes: Whether content may be lost without a question.
        run_state_after: Whether the guest runs in the end.
        deadline_s: How long QEMU may take to read its state.
        accepted: What may differ.
    """

    store: Store
    offline: bool
    template: str
    socket: str
    copies: str
    yes: bool
    run_state_after: RunStateAfter
    deadline_s: float | None
    accepted: Accepted = NOTHING_ACCEPTED


def is_restore(manifest: Manifest) -> bool:
    """Whether a snapshot goes back in a fresh QEMU only."""
    return any(part.external for part in manifest.parts)


async def restore(
    found: FoundManifest, wish: RestoreWish, reporter: TerminalReporter
) -> tuple[dict[str, object], str]:
    """Do it, or show it; what was done as plain values and as text."""
    vm = store_of(found, wish.store)
    if not (wish.offline or wish.template):
        plan = (await _decide(found, vm, wish)).plan
        return restore_to_plain(plan, ready=False), restore_text(plan, ready=False)
    with nullcontext() if vm is None else vm.locked():

        async def decide() -> _Decided:
            # Again, under the lock: another snapplan may have replaced it or taken it away.
            return await _decide(read_again(found), vm, wish)

        def ask(decided: _Decided) -> bool:
            return _confirm(decided.plan, wish, reporter)

        decided = await decide_and_ask(decide, ask, found.manifest.tag)
        plan = decided.plan
        for what in decided.unproved:
            reporter.note(f"not checked: {what}")
        disks = Disks(plan, QemuImages(), RestoringHost(), reporter)
        record = RestoreRecord.begin(vm, plan, HostClock().now_us() * 1000)
        try:
            return await cancelled_by_signals(_restore(decided, disks, record, wish, reporter))
        except BaseException:
            record.taken_back()
            raise


async def _restore(
    decided: _Decided,
    disks: Disks,
    record: RestoreRecord,
    wish: RestoreWish,
    reporter: TerminalReporter,
) -> tuple[dict[str, object], str]:
    plan = decided.plan
    try:
        if not wish.template:
            await disks.ready()
            record.made(ready=True)
            return restore_to_plain(plan, ready=True), restore_text(plan, ready=True)
        return await _run(decided, disks, record, wish, reporter)
    except asyncio.CancelledError:
        if disks.taken_back is None:
            raise
        raise disks.taken_back from None  # it says what became of the disks


@frozen
class _Decided:
    """A restore, before somebody agrees to what it loses.

    Attributes:
        plan: What is to be done.
        socket: Where the new QEMU is to listen; empty: none is started.
        words: Its command line; empty: none is started.
        stamps: Of the files of the snapshot: what they hold now is what is lost.
        unproved: Of which files nothing proves that they are what was saved, in clauses.
    """

    plan: RestorePlan
    socket: str
    words: tuple[str, ...]
    stamps: tuple[tuple[str, tuple[int, ...]], ...]
    unproved: tuple[str, ...]


async def _decide(found: FoundManifest, vm: VmStore | None, wish: RestoreWish) -> _Decided:
    manifest = found.manifest
    check_images_free(wish.store, manifest, vm)
    others = () if vm is None else vm.manifests().found
    saved = look_at_files(manifest)
    plan = await _plan(manifest, wish, others, saved, numbers_taken(vm, manifest.tag))
    socket = _socket(manifest, wish) if wish.template else ""
    words = _words(plan, wish, socket) if wish.template else ()
    unproved = tuple(file_notes(manifest, saved))
    return _Decided(plan, socket, words, stamps(manifest.files), unproved)


async def _plan(
    manifest: Manifest,
    wish: RestoreWish,
    others: Sequence[Manifest],
    saved: Mapping[str, FoundFile],
    numbers: frozenset[int],
) -> RestorePlan:
    images, unreadable = await look_at_parts(manifest, QemuImages())
    if unreadable:
        message = f"snapshot {manifest.tag!r} cannot be restored safely"
        raise Refused(message, problems=unreadable, code="load-refused")
    taken = names_taken(manifest, wish.copies)
    return plan_restore(
        manifest,
        images,
        stream_sizes(manifest),
        others,
        copies=wish.copies,
        taken=taken,
        files=look_at_left_out(manifest),
        accepted=wish.accepted,
        saved=saved,
        numbers=numbers,
    )


def _socket(manifest: Manifest, wish: RestoreWish) -> str:
    socket = wish.socket or manifest.address
    if not socket or "/" not in socket:
        raise click.UsageError("give --qmp PATH: the socket at which the new QEMU is to listen")
    return str(Path(socket).absolute())


def _words(plan: RestorePlan, wish: RestoreWish, socket: str) -> tuple[str, ...]:
    disks = {disk.part.disk: (disk.file, disk.format) for disk in plan.disks}
    return (*fill_template(wish.template, disks, socket), *plan.arguments)


def _confirm(plan: RestorePlan, wish: RestoreWish, reporter: TerminalReporter) -> bool:
    """What a disk holds now goes only with somebody's word for it; whether that was asked for."""
    if not plan.loses or wish.yes:
        return False
    names = ", ".join(disk.part.disk for disk in plan.loses)
    if not can_ask():
        words = f"what {names} holds now is lost"
        remedy = "add --yes, or --copy-to FOLDER, which loses nothing"
        problem = Problem("confirmation-missing", plan.manifest.tag, words, remedy)
        raise BadInput(str(problem), problems=(problem,), code=problem.code)
    ask_person(f"What {names} holds now is lost. Go on?", reporter)
    return True


async def _run(
    decided: _Decided,
    disks: Disks,
    record: RestoreRecord,
    wish: RestoreWish,
    reporter: TerminalReporter,
) -> tuple[dict[str, object], str]:
    plan, words, socket = decided.plan, decided.words, decided.socket
    await disks.make()
    record.made(ready=False)

    async def check(backend: Backend) -> Facts:
        return await check_started(plan, backend)

    async def load(backend: Backend) -> str:
        return await run_restored(plan, backend, wish.run_state_after, wish.deadline_s, reporter)

    if plan.reverts:
        # What does not come up, or is another machine, must show before an image is given up.
        tried, _ = await _started(words, socket, check, disks)
        tried.end()
        await disks.revert()
    record.starting(socket)
    started, state = await _started(words, socket, load, disks, record.started)
    pid = started.pid
    started.leave()
    return restored_to_plain(plan, state, pid, socket), restored_text(plan, state, pid, socket)


async def _started(
    words: tuple[str, ...],
    socket: str,
    use: Callable[[Backend], Awaitable[_Result]],
    disks: Disks,
    record: Callable[[int], None] | None = None,
) -> tuple[Launched, _Result]:
    """Start the QEMU and use it; where that fails it is ended, and the disks are taken back.

    `record` is told of it before its guest can run.
    """
    started: Launched | None = None
    try:
        started = await launch(words, socket)
        backend = await started.connect(socket, _START_S)
        if record is not None:
            record(backend.peer_pid or started.pid)
        try:
            return started, await use(backend)
        finally:
            await backend.close()
    except BaseException as error:
        said = started.said() if started is not None else ""
        if started is not None:
            started.end()
        if isinstance(error, asyncio.CancelledError):
            await disks.take_back_for_stop()
            raise
        cause = _cause(error, said)
        failure = await to_its_end(disks.failure(cause, cause.message))
        if not isinstance(error, SnapplanError):
            raise  # a bug: the disks are taken back all the same
        failure.problems = (*error.problems, *failure.problems)
        raise failure from error


def _cause(error: BaseException, said: str) -> Problem:
    words = error.message if isinstance(error, SnapplanError) else str(error)
    code = error.code if isinstance(error, SnapplanError) else "restore-failed"
    also = f"; QEMU says: {said}" if said and said not in words else ""
    return Problem(code, "vm", f"{words}{also}")
