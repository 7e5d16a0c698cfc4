"""Clones: VMs that go on from a snapshot's template, any number of them side by side.

All or none: where one of several does not come up, the others are ended too, and what was made for them
is taken back.  Each is recorded as a restore before its first file is made (`planner.store.restores`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from attrs import define, evolve, frozen

from planner.errors import (
    BadInput,
    InternalError,
    Interrupted,
    Problem,
    Refused,
    RunFailed,
    SnapplanError,
    UndoIncomplete,
    in_order,
)
from planner.host.host_clock import HostClock
from planner.host.left_out import look_at_left_out
from planner.host.processes import Process, process_of
from planner.load.command_line import names_from
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted, not_accepted
from planner.parts.left_out_checks import left_out_problems
from planner.parts.manifest import Manifest
from planner.parts.template import Template
from planner.recover.pending_images import check_images_free
from planner.run.ports import HostRefused, NoReply
from planner.run.reporting import telling
from planner.run.stopping import to_its_end
from planner.store.restore_records import Restore, RestoreState
from planner.store.restores import forget_restore, numbers_taken, with_identities, write_restore
from planner.store.store import VmStore
from planner.template.clone_plan import (
    Cloned,
    ClonePlan,
    clone_words,
    free_number,
    place_disks,
    said_words,
    same_in_all,
)
from planner.template.cloning import (
    Waiting,
    check_template,
    end_clone,
    files_of,
    first_failure,
    go_on,
    start_waiting,
    sync,
)
from planner.verbs.context import Offline
from planner.verbs.find import FoundManifest, find_in_store, read_again, store_of
from planner.verbs.looking import look_of

__all__ = ["CloneWish", "Cloned", "Cloner", "clone", "cloner_of", "has_template"]

_SOCKET_LIMIT_BYTES = 107
"""What the kernel takes as a socket's path, without the zero at its end."""


@frozen
class CloneWish:
    """How clones are wanted.

    Attributes:
        line: QEMU's command line with its places, in one or as words; empty: the template's own.
        count: How many.
        socket: Where they listen, with ``{clone}`` where there are several; empty: beside the socket of
            the VM that was saved, by number.
        folder: Where their overlays are made; empty: beside the VM's own.
        run: Whether their guests are to run.
        deadline_s: How long reading the devices' state may take, in seconds; None: a minute.
        owner: The program that they end with; None: they stay.
        accepted: What may differ of what was left out of the snapshot.
    """

    line: str | tuple[str, ...] = ""
    count: int = 1
    socket: str = ""
    folder: str = ""
    run: bool = True
    deadline_s: float | None = None
    owner: Process | None = None
    accepted: Accepted = NOTHING_ACCEPTED


@define
class OneClone:
    """A clone that is recorded: its record, and as far as there is, its QEMU."""

    record: Restore
    waiting: Waiting


@frozen
class Cloner:
    """Starts clones of one template.

    Attributes:
        found: The snapshot.
        vm: The share of the store that has it; None: none has, and nothing is recorded.
        template: Its template.
        wish: How they are wanted.
        offline: What it is done with.
    """

    found: FoundManifest
    vm: VmStore | None
    template: Template
    wish: CloneWish
    offline: Offline

    @property
    def manifest(self) -> Manifest:
        """The snapshot."""
        return self.found.manifest

    @property
    def line(self) -> tuple[str, ...]:
        """The words that they are started by."""
        return said_words(self.wish.line) if self.wish.line else self.template.words

    def begin(self, count: int, state: RestoreState = RestoreState.MAKING) -> list[OneClone]:
        """Give each a number and names, and record it; the VM's lock is held.

        Raises:
            BadInput: The command line or a socket cannot be used, or the store cannot be written.
            Refused: The template is not what it was, or a run is pending on its images.
        """
        check_images_free(self.offline.store, self.manifest, self.vm)
        check_template(self.manifest, self.template)
        self._check_left_out()
        taken, number = numbers_taken(self.vm, self.manifest.tag), 0
        plans = []
        now_ns = HostClock().now_us() * 1000
        for _ in range(count):
            number = free_number(taken, self._files, os.path.lexists, number + 1)
            plans.append(self._plan(number, now_ns, several=count > 1))
        begun: list[OneClone] = []
        try:
            begun.extend(self._begun(plan, now_ns, state) for plan in plans)
        except BaseException:
            for one in begun:
                self.forget(one)
            raise
        return begun

    async def ready(self, one: OneClone) -> None:
        """Start its QEMU, which waits for the devices' state then; see `start_waiting`."""
        if self.offline.launch is None:
            raise InternalError("nobody can start a QEMU here")
        same_line = self.line == self.template.words
        look = None if same_line else look_of(one.waiting.plan, self.wish.accepted)
        await start_waiting(
            *(one.waiting, self.offline.host, self.offline.launch),
            lambda pid: self._write(one, evolve(one.record, process=process_of(pid))),
            look,
        )

    async def run(self, one: OneClone) -> Cloned:
        """Let it go on from the template; see `go_on`."""
        waiting, pid = one.waiting, one.record.process.pid if one.record.process else 0

        def record() -> None:
            self._write(one, evolve(one.record, state=RestoreState.STARTED))

        known = one.record.state is RestoreState.STARTED
        deadline_s = self.wish.deadline_s or 60.0
        state = await go_on(
            waiting, None if known else record, run=self.wish.run, deadline_s=deadline_s
        )
        pid = pid or (0 if waiting.started is None else waiting.started.pid)
        return Cloned(waiting.plan, pid, state, same=tuple(same_in_all(self.line)))

    async def leave(self, one: OneClone) -> None:
        """Let it go on without us; its overlays last."""
        waiting = one.waiting
        if waiting.backend is not None:
            await waiting.backend.close()
        if waiting.started is not None:
            waiting.started.leave()
        try:
            await sync(waiting, self.offline.host)
        except (HostRefused, NoReply) as failed:
            telling(self.offline.reporter).note(f"not written back to the disk: {failed}")

    async def take_back(self, one: OneClone) -> tuple[Problem, ...]:
        """End it, and remove what was made for it; which files are left, it says."""
        left = await end_clone(one.waiting, self.offline.host)
        if not left:
            self.forget(one)
        return left

    def forget(self, one: OneClone) -> None:
        """Forget it: nothing of it is there."""
        if self.vm is not None:
            forget_restore(self.vm, one.record)

    def _check_left_out(self) -> None:
        manifest = self.manifest
        problems = left_out_problems(manifest, look_at_left_out(manifest))
        refused = tuple(not_accepted(problems, self.wish.accepted))
        if refused:
            message = f"snapshot {manifest.tag!r} cannot be restored safely"
            raise Refused(message, problems=in_order(refused), code="load-refused")

    def _files(self, number: int) -> list[str]:
        placed = place_disks(self.manifest, self.template, self.wish.folder, number)
        return [disk.file for disk in placed]

    def _plan(self, number: int, now_ns: int, *, several: bool) -> ClonePlan:
        manifest, store = self.manifest, str(self.offline.store.root)
        me = process_of(os.getpid())
        machine = "" if me is None else me.machine
        own = names_from(number, machine, store, str(self.found.path), str(now_ns))
        disks = place_disks(manifest, self.template, self.wish.folder, number)
        socket = self._socket(number, several=several)
        words = clone_words(self.line, self.template, disks, socket, own)
        return ClonePlan(manifest, self.template, number, disks, socket, own, words)

    def _socket(self, number: int, *, several: bool) -> str:
        asked = self.wish.socket
        if several and asked and "{clone}" not in asked:
            raise _bad("usage", "--qmp", "several clones need {clone} in the path of their sockets")
        address = self.manifest.address
        if not asked and "/" not in address:
            words = "the VM that was saved had no socket: give --qmp PATH"
            raise _bad("usage", self.manifest.tag, words)
        path = asked.replace("{clone}", str(number)) if asked else f"{address}.{number}"
        path = str(Path(path).absolute())
        if len(os.fsencode(path)) > _SOCKET_LIMIT_BYTES:
            words = f"a socket's path has {_SOCKET_LIMIT_BYTES} bytes at most: {path}"
            raise _bad("socket-too-long", "--qmp", words, "give --qmp a shorter one")
        return path

    def _begun(self, plan: ClonePlan, now_ns: int, state: RestoreState) -> OneClone:
        record = Restore(
            *(plan.manifest.tag, plan.number, state, files_of(plan)),
            saved_ns=plan.manifest.ended_ns,
            made_ns=now_ns,
            socket=plan.socket,
            owner=self.wish.owner,
            template_ns=self.template.made_ns,
        )
        if self.vm is not None:
            write_restore(self.vm, record)
        return OneClone(record, Waiting(plan))

    def _write(self, one: OneClone, record: Restore) -> None:
        one.record = with_identities(record)
        if self.vm is not None:
            write_restore(self.vm, one.record)


def has_template(offline: Offline, source: str) -> bool:
    """Whether a snapshot has a template.

    Raises:
        BadInput: There is no such snapshot.
    """
    return find_in_store(source, offline.store, offline.vm_name).manifest.template is not None


def cloner_of(offline: Offline, source: str, wish: CloneWish) -> Cloner:
    """What starts clones of a snapshot.

    Raises:
        BadInput: There is no such snapshot; or no store has it, and no line is given: a command line
            that somebody else may have written is not run.
        Refused: It has no template (``template-missing``).
    """
    found = find_in_store(source, offline.store, offline.vm_name)
    vm = store_of(found, offline.store)
    template = found.manifest.template
    if template is None:
        words = "it has no template"
        remedy = "make one: `snapplan template TAG --run LINE`"
        problem = Problem("template-missing", found.manifest.tag, words, remedy)
        raise Refused(str(problem), problems=(problem,), code=problem.code)
    if vm is None and not wish.line:
        words = "its command line is used from the store only, where nobody else has written it"
        raise _bad("usage", source, words, "give --run LINE")
    return Cloner(found, vm, template, wish, offline)


async def clone(offline: Offline, source: str, wish: CloneWish) -> tuple[Cloned, ...]:
    """Start clones of a snapshot's template; they go on without us.

    Raises:
        BadInput: There is no such snapshot, or the command line cannot be used.
        Refused: It has no template, or that cannot be used; nothing was made.
        RunFailed: One did not come up: all are ended, and no new file is left.
        UndoIncomplete: The same, and a file is left; the problems say which.
    """
    cloner = cloner_of(offline, source, wish)
    with nullcontext() if cloner.vm is None else cloner.vm.locked():
        found = read_again(cloner.found)
        if found.manifest.template is None:
            return await clone(offline, source, wish)  # it has gone: `cloner_of` says so
        cloner = evolve(cloner, found=found, template=found.manifest.template)
        begun = cloner.begin(wish.count)
        task = asyncio.ensure_future(_all(cloner, begun))
        return await offline.awaiting(_ended(task), lambda: _cancel(task))


async def _ended(task: asyncio.Future[tuple[Cloned, ...]]) -> tuple[Cloned, ...]:
    try:
        return await task
    except asyncio.CancelledError:
        state = "What had been begun is taken back."
        raise Interrupted("stopped", vm_state=state) from None


def _cancel(task: asyncio.Future[tuple[Cloned, ...]]) -> None:
    task.cancel()


async def _all(cloner: Cloner, begun: Sequence[OneClone]) -> tuple[Cloned, ...]:
    """All of them run, or none is left."""
    tasks = [asyncio.ensure_future(_whole(cloner, one)) for one in begun]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()  # those that are done do not mind
        results = await to_its_end(_gathered(tasks))
        failure = first_failure(results)
        if failure is not None:
            await to_its_end(_take_back_all(cloner, begun, failure))
    if failure is not None:
        raise failure
    for one in begun:
        await cloner.leave(one)
    return tuple(each for each in results if isinstance(each, Cloned))


async def _gathered(tasks: Sequence[asyncio.Future[Cloned]]) -> list[Cloned | BaseException]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def _whole(cloner: Cloner, one: OneClone) -> Cloned:
    await cloner.ready(one)
    return await cloner.run(one)


async def _take_back_all(cloner: Cloner, begun: Sequence[OneClone], failure: BaseException) -> None:
    left = [problem for one in begun for problem in await cloner.take_back(one)]
    if left and isinstance(failure, SnapplanError):
        raise UndoIncomplete(
            failure.message,
            problems=(*failure.problems, *left),
            code=failure.code,
            vm_state="No QEMU of it runs; the snapshot and its template are as they were.",
            left=tuple(left),
        ) from failure
    if isinstance(failure, RunFailed) and not failure.vm_state:
        failure.vm_state = "No QEMU of it runs, and no new file is left."


def _bad(code: str, subject: str, why: str, remedy: str = "") -> BadInput:
    problem = Problem(code, subject, why, remedy)
    return BadInput(str(problem), problems=(problem,), code=code)
