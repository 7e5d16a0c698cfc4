"""What starts clones of one template: each step of one, recorded before it is done.

Each is recorded as a restore before its first file is made (`planner.store.restores`), and that its
guest may run before it does.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from attrs import define, evolve, frozen

from planner.errors import (
    BadInput,
    InternalError,
    Problem,
    Refused,
    SnapplanError,
    in_order,
)
from planner.host.ending import end_process
from planner.host.host_clock import HostClock
from planner.host.left_out import look_at_left_out
from planner.host.processes import lives, process_of
from planner.load.command_line import accepting_names, names_from
from planner.parts.accepting import not_accepted
from planner.parts.left_out_checks import left_out_problems
from planner.parts.manifest import Manifest
from planner.parts.template import Template
from planner.recover.pending_images import check_images_free
from planner.run.ports import HostRefused, NoReply
from planner.run.reporting import telling
from planner.store.restore_records import Restore, RestoreState
from planner.store.restores import (
    forget_restore,
    numbers_taken,
    restores_of,
    with_identities,
    write_restore,
)
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
    go_on,
    quit_clone,
    start_waiting,
    sync,
    take_over,
)
from planner.verbs.clone_wish import CloneWish
from planner.verbs.context import Offline
from planner.verbs.find import FoundManifest, find_in_store, read_again, store_of
from planner.verbs.looking import look_of

__all__ = ["Cloner", "OneClone", "cloner_of"]

_SOCKET_LIMIT_BYTES = 107
"""What the kernel takes as a socket's path, without the zero at its end."""


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

    def again(self) -> Cloner:
        """The same, with the snapshot as it is recorded now; the VM's lock is held.

        Raises:
            BadInput, Refused: It is gone, or its template is.
        """
        found = read_again(self.found)
        return evolve(self, found=found, template=_template_of(found.manifest))

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
            plans.append(self._plan(number, now_ns, self._socket(number, several=count > 1)))
        begun: list[OneClone] = []
        try:
            begun.extend(self._begun(plan, now_ns, state) for plan in plans)
        except BaseException:
            for one in begun:
                self.forget(one)
            raise
        return begun

    async def spares(self, most: int) -> list[OneClone]:
        """Spares that wait for just this, connected; the VM's lock is held.

        One that was started from another template, or by another line, stays for whoever wants it; one
        that does not answer as it should is ended, and its files go.
        """
        if self.vm is None:
            return []
        check_template(self.manifest, self.template)
        self._check_left_out()
        found: list[OneClone] = []
        for record in restores_of(self.vm).of(self.manifest.tag):
            if len(found) == most:
                break
            one = self._spare(record)
            if one is None:
                continue
            try:
                await take_over(one.waiting, record.process)
            except SnapplanError:
                await self.take_back(one)
            else:
                found.append(one)
        return found

    def _spare(self, record: Restore) -> OneClone | None:
        """A spare that is recorded, if it is one of these; None: it is not."""
        wanted = (RestoreState.SPARE, self.manifest.ended_ns, self.template.made_ns, None)
        if (record.state, record.saved_ns, record.template_ns, record.owner) != wanted:
            return None
        if record.process is None or lives(record.process) is not True:
            return None
        if self.wish.socket and record.socket != self._socket(record.number, several=False):
            return None
        plan = self._plan(record.number, record.made_ns, record.socket)
        same_files = [disk.file for disk in plan.disks] == [made.file for made in record.files]
        if _digest(plan.words) != record.line or not same_files:
            return None
        return OneClone(record, Waiting(plan, files=record.files))

    async def ready(self, one: OneClone) -> None:
        """Start its QEMU, which waits for the devices' state then; see `start_waiting`."""
        if self.offline.launch is None:
            raise InternalError("nobody can start a QEMU here")
        same_line = self.line == self.template.words
        accepted = accepting_names(self.line, self.wish.accepted)
        look = None if same_line else look_of(one.waiting.plan, accepted)
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
        same = tuple(same_in_all(self.line))
        return Cloned(waiting.plan, pid, state, waiting.started is None, same)

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

    async def take_back(self, one: OneClone, *, keep: bool = False) -> tuple[Problem, ...]:
        """End it, and remove what was made for it, unless that is kept; it says which files are left."""
        waiting = one.waiting
        if keep:
            await quit_clone(waiting)
            self._write(one, evolve(one.record, owner=None))
            waiting.files = ()
        if waiting.started is None and one.record.process is not None:
            await asyncio.to_thread(end_process, one.record.process)
        left = await end_clone(waiting, self.offline.host)
        if not left and not keep:
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

    def _plan(self, number: int, now_ns: int, socket: str) -> ClonePlan:
        manifest, store = self.manifest, str(self.offline.store.root)
        me = process_of(os.getpid())
        machine = "" if me is None else me.machine
        own = names_from(number, machine, store, str(self.found.path), str(now_ns))
        disks = place_disks(manifest, self.template, self.wish.folder, number)
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
            line=_digest(plan.words) if state is RestoreState.SPARE else "",
        )
        if self.vm is not None:
            write_restore(self.vm, record)
        return OneClone(record, Waiting(plan))

    def _write(self, one: OneClone, record: Restore) -> None:
        one.record = with_identities(record)
        if self.vm is not None:
            write_restore(self.vm, one.record)


def cloner_of(offline: Offline, source: str, wish: CloneWish) -> Cloner:
    """What starts clones of a snapshot.

    Raises:
        BadInput: There is no such snapshot; or no store has it, and no line is given: a command line
            that somebody else may have written is not run.
        Refused: It has no template (``template-missing``).
    """
    found = find_in_store(source, offline.store, offline.vm_name)
    vm = store_of(found, offline.store)
    template = _template_of(found.manifest)
    if vm is None and not wish.line:
        words = "its command line is used from the store only, where nobody else has written it"
        raise _bad("usage", source, words, "give --run LINE")
    return Cloner(found, vm, template, wish, offline)


def _template_of(manifest: Manifest) -> Template:
    if manifest.template is None:
        words, remedy = "it has no template", "make one: `snapplan template TAG --run LINE`"
        problem = Problem("template-missing", manifest.tag, words, remedy)
        raise Refused.of(problem)
    return manifest.template


def _digest(words: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def _bad(code: str, subject: str, why: str, remedy: str = "") -> BadInput:
    problem = Problem(code, subject, why, remedy)
    return BadInput.of(problem)
