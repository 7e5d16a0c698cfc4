"""Template: makes a snapshot ready for instant restore, and takes that away again.

The snapshot stays what it is, and is never opened for writing.  The manifest is replaced when all of the
template is there and on the disk; whatever fails or is killed before leaves it as it was.
"""

from __future__ import annotations

import os
import secrets
import shlex
from pathlib import Path

from attrs import evolve, frozen

from planner.collect.throwaways import end_spares
from planner.errors import (
    BadInput,
    InternalError,
    Problem,
    Refused,
    SnapplanError,
    UndoIncomplete,
    in_order,
)
from planner.host.ending import socket_folder
from planner.host.evidence import stream_sizes
from planner.host.input import read_text_file
from planner.host.left_out import look_at_left_out
from planner.host.processes import process_of
from planner.host.reading import read_files
from planner.load.command_line import accepting_names, fill_template
from planner.load.fresh_qemu import restore_problems
from planner.load.restored_vm import RESTORE_TIMEOUT_S
from planner.load.restoring import Disks, look_at_parts
from planner.load.starting import start_and_use
from planner.model.facts import QemuVersion
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted
from planner.parts.manifest import Manifest
from planner.parts.manifest_text import read_manifest
from planner.parts.template import Template
from planner.recover.pending_images import check_images_free
from planner.run.ports import Backend
from planner.run.reporting import telling
from planner.store.makings import Making, forget_making, write_making
from planner.store.store import VmStore
from planner.template.making import fill, keep, prepare, take_away
from planner.template.making_plan import (
    MakingPlan,
    encrypted_problems,
    memory_of,
    memory_problems,
    plan_making,
)
from planner.template.memory_words import with_memory
from planner.template.proving import prove_making
from planner.template.removing import check_unused, clear_makings, drop_files
from planner.template.unfit import unfit_devices
from planner.verbs.context import Offline
from planner.verbs.find import FoundManifest, find_in_store, read_again, store_of
from planner.verbs.reading import on_read
from planner.verbs.stopped import stopped_by_cancelling

__all__ = ["TemplateWish", "drop_template", "make_template"]


@frozen
class TemplateWish:
    """How a template is to be made.

    Attributes:
        line: QEMU's command line with places for images, formats and the socket: as a line that is split
            into words as a shell would, or as words.
        folder: Where its files are to be, an absolute path; empty: beside the machine state.
        socket: Where the QEMU that makes it is to listen; empty: in a folder of its own.
        replace: Whether one that is there goes when the new one is complete.
        deadline_s: How long QEMU may take to read its state, in seconds; None: an hour.
        accepted: What may differ.
    """

    line: str | tuple[str, ...]
    folder: str = ""
    socket: str = ""
    replace: bool = False
    deadline_s: float | None = None
    accepted: Accepted = NOTHING_ACCEPTED


async def make_template(offline: Offline, source: str, wish: TemplateWish) -> Manifest:
    """Make a snapshot ready for instant restore; its guest does not run meanwhile.

    Args:
        offline: The store, the images, the host, and who starts a QEMU.
        source: A tag that the store has, or the manifest's file in the store.
        wish: How.

    Returns:
        The manifest with its template.

    Raises:
        BadInput: There is no such manifest in the store, or the command line cannot be used.
        Refused: It can have no template, it has one, or the QEMU is another VM; nothing is left.
        RunFailed: QEMU or the host failed; nothing is left, and the manifest is as it was.
        UndoIncomplete: The same, and a file is left that `gc` removes.
        Interrupted: It was stopped; nothing is left.
    """
    found = find_in_store(source, offline.store, offline.vm_name)
    vm = _in_store(found, offline)
    with vm.locked():
        found = read_again(found)
        if wish.replace:
            await end_spares(vm, found.manifest.tag, offline.host)
        _check_replaced(found.manifest, wish, offline)
        plan = await _decide(found, vm, wish, offline)
        await clear_makings(vm, offline.host)
        with socket_folder() as folder:
            socket = _absolute(wish.socket) or f"{folder}/qmp"
            doing = _Doing(plan, wish, offline, vm, socket, found.path)
            return await stopped_by_cancelling(offline, doing.work())


async def drop_template(offline: Offline, source: str) -> Manifest:
    """Take a snapshot's template away; the snapshot stays.

    Returns:
        The manifest without it.

    Raises:
        BadInput: There is no such manifest in the store, or it has no template (``template-unknown``).
        Refused: A QEMU has a file of it open, or a restore lies on it (``template-in-use``).
    """
    found = find_in_store(source, offline.store, offline.vm_name)
    vm = _in_store(found, offline)
    with vm.locked():
        manifest = read_again(found).manifest
        if manifest.template is None:
            problem = Problem("template-unknown", manifest.tag, "it has no template")
            raise BadInput.of(problem)
        await end_spares(vm, manifest.tag, offline.host)
        check_unused(manifest.tag, manifest.template, offline.store)
        await drop_files(vm, manifest.tag, manifest.template, offline.host)
        return evolve(manifest, template=None)


def _in_store(found: FoundManifest, offline: Offline) -> VmStore:
    vm = store_of(found, offline.store)
    if vm is None or vm.manifest_path(found.manifest.tag).resolve() != found.path.resolve():
        words = "its manifest is in no store, and a template is recorded there"
        problem = Problem("template-no-store", found.manifest.tag, words, "give --store")
        raise BadInput.of(problem)
    return vm


def _check_replaced(manifest: Manifest, wish: TemplateWish, offline: Offline) -> None:
    if manifest.template is None:
        return
    if not wish.replace:
        words = "it has a template"
        problem = Problem("template-exists", manifest.tag, words, "add --replace to make another")
        raise Refused.of(problem)
    check_unused(manifest.tag, manifest.template, offline.store)


async def _decide(
    found: FoundManifest, vm: VmStore, wish: TemplateWish, offline: Offline
) -> MakingPlan:
    """Everything that can speak against it is asked before anything is made or started."""
    manifest = found.manifest
    check_images_free(offline.store, manifest, vm)
    holder = manifest.vmstate
    if holder is None:
        words = (
            "it has no machine state: a guest that starts anew has nothing to be restored at once"
        )
        problem = Problem("template-no-state", manifest.tag, words, "save with machine state")
        raise Refused.of(problem)
    line = _split(wish.line)
    images, found_out = await look_at_parts(manifest, offline.images)
    problems = [
        *found_out,
        *restore_problems(
            *(manifest, images, stream_sizes(manifest)),
            files=look_at_left_out(manifest),
            accepted=wish.accepted,
            saved=await read_files(manifest, on_read(offline.reporter)),
        ),
        *encrypted_problems(manifest),
        *memory_problems(manifest, line),
        *unfit_devices(manifest.added, manifest.qemu),
    ]
    folder = wish.folder or _folder_of(holder.file)
    if not problems and not os.access(folder, os.W_OK | os.X_OK):
        problems.append(Problem("file-unwritable", folder, "nothing can be made in this folder"))
    if problems:
        message = f"snapshot {manifest.tag!r} can have no template"
        raise Refused(message, problems=in_order(problems), code="template-refused")
    memory = memory_of(manifest, line)
    accepted = accepting_names(wish.line, wish.accepted)
    plan = plan_making(manifest, folder, secrets.token_hex(4), memory, accepted)
    # What is wrong with the line shows before anything is made.
    prove_making(_filled(plan, wish, "/socket"), plan)
    return plan


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path else ""


def _folder_of(file: str) -> str:
    return os.path.realpath(Path(file).parent)


def _split(line: str | tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line)) if isinstance(line, str) else tuple(line)
    except ValueError:
        return ()  # `fill_template` says what is wrong with it


def _filled(plan: MakingPlan, wish: TemplateWish, socket: str) -> tuple[str, ...]:
    disks = {disk.part.disk: (disk.file, disk.format) for disk in plan.restore.disks}
    words = fill_template(wish.line, disks, socket)
    return (*with_memory(words, plan.memory_being_made, share=True), *plan.restore.arguments)


@frozen
class _Doing:
    """A template that is being made: under the VM's lock, recorded before its first file."""

    plan: MakingPlan
    wish: TemplateWish
    offline: Offline
    vm: VmStore
    socket: str
    path: Path

    async def work(self) -> Manifest:
        """Make it, or leave nothing of it."""
        # A socket that the user has named may be somebody else's: whoever listens there is left alone.
        socket = "" if self.wish.socket else self.socket
        making = Making(self.plan.manifest.tag, self.plan.token, self.plan.files, socket)
        write_making(self.vm, making)
        try:
            manifest = await self._make(making)
        except BaseException as error:
            await self._take_back(making, error)
            raise
        await self._tidy_up(making)
        return manifest

    async def _make(self, making: Making) -> Manifest:
        plan, offline = self.plan, self.offline
        if offline.launch is None:
            raise InternalError("nobody can start a QEMU here")
        teller = telling(offline.reporter)
        await prepare(plan, offline.host, teller)
        disks = Disks(plan.restore, offline.images, offline.host, offline.reporter)
        await disks.make()

        async def use(backend: Backend) -> QemuVersion:
            teller.step(1, 1, "read the machine state, and write the devices'")
            deadline_s = self.wish.deadline_s or RESTORE_TIMEOUT_S
            return await fill(plan, backend, offline.host, deadline_s)

        def started(pid: int) -> None:
            write_making(self.vm, evolve(making, process=process_of(pid)))

        words = _filled(plan, self.wish, self.socket)
        qemu, version = await start_and_use(
            *(offline.launch, words, self.socket, use, disks), record=started
        )
        qemu.end()
        asked = _split(self.wish.line)
        template = await keep(plan, version, asked, offline.host, teller)
        return self._record(template)

    def _record(self, template: Template) -> Manifest:
        """Name what was made; the names of its files that somebody has told of are left out of it."""
        recorded = read_manifest(read_text_file(str(self.path)), str(self.path))
        self.vm.write(evolve(recorded, template=template))
        return evolve(self.plan.manifest, template=template)

    async def _take_back(self, making: Making, error: BaseException) -> None:
        left = await take_away(making.files, self.offline.host)
        if not left:
            forget_making(self.vm, making)
        elif isinstance(error, SnapplanError):
            raise UndoIncomplete(
                error.message,
                problems=(*error.problems, *left),
                code=error.code,
                vm_state="No QEMU runs; the snapshot is as it was.",
                left=left,
            ) from error

    async def _tidy_up(self, making: Making) -> None:
        """Remove what is not needed any more, the template of before too; what is left gc removes."""
        before = self.plan.manifest.template
        if before is not None:
            making = evolve(making, files=(*making.files, *before.own_files))
            write_making(self.vm, making)
        needed = () if (now := self.vm.manifest(making.tag)) is None else now.template_files
        left = await take_away(making.left_over(needed), self.offline.host)
        for problem in left:
            telling(self.offline.reporter).note(f"left: {problem}")
        if not left:
            forget_making(self.vm, making)
