"""Makes the disks ready that `planner.load.fresh_qemu` decided on; then `restored_vm` has the QEMU.

New files come before anything that gives up what is there, so that most failures leave nothing behind
and nothing lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from planner.errors import (
    Interrupted,
    Problem,
    Refused,
    RunFailed,
    UndoIncomplete,
)
from planner.host.process_io import copy_meter
from planner.host.processes import open_files
from planner.inspect.before_writing import unwritable
from planner.inspect.offline import OfflineImages, header_problems
from planner.load.fresh_qemu import (
    RestoredDisk,
    RestorePlan,
)
from planner.model.image import Image
from planner.model.image_key import NO_SECRETS, Secrets
from planner.parts.manifest import Manifest
from planner.parts.needing_vm import unreached_problems, unwritable_problems
from planner.parts.reach import ENCRYPTED
from planner.parts.readied import Readied
from planner.run.phases import Phase
from planner.run.ports import (
    Host,
    HostRefused,
    NoReply,
    Reporter,
)
from planner.run.reporting import telling
from planner.run.stopping import to_its_end
from planner.run.watching import Watch

__all__ = [
    "Disks",
    "look_at_parts",
    "names_taken",
]

_HOST_TIMEOUT_S = 3600.0


async def look_at_parts(
    manifest: Manifest, images: OfflineImages, secrets: Secrets = NO_SECRETS
) -> tuple[dict[str, dict[str, Image]], tuple[Problem, ...]]:
    """The images that hold the parts, by disk and file, and which cannot be looked at.

    What the VM wrote to since, overlays above frozen images, is nobody's business here.  Where the fresh
    QEMU itself reverts the disks, it has the keys of encrypted ones, and none is needed here.
    """
    found: dict[str, dict[str, Image]] = {}
    problems: list[Problem] = []
    unreached = {problem.subject: problem for problem in unreached_problems(manifest)}
    loads = any(part.holds_state and not part.external for part in manifest.parts)
    locked = unwritable_problems(manifest, secrets)
    problems += unreached.values()
    problems += [each for each in locked if not (loads and each.code == ENCRYPTED)]
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
                problems.append(Problem(code, part.subject, f"{file}: {silent}", remedy))
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
        losing = {d.part.disk: d.part.file for d in self.plan.loses}
        problems = await unwritable(losing, self._host)
        if problems:
            message = f"snapshot {self.plan.manifest.tag!r} cannot be restored safely"
            raise Refused(message, problems=problems, code="load-refused")
        await self._each(self.plan.makes)

    async def revert(self) -> None:
        """Revert the images that are to be, when all new files are made; see `ready`."""
        await self._each(self.plan.loses)

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
            state = f"{self._who_runs()}; no new file is left, and no disk was reverted."
            kind = Interrupted if cause.code == "interrupted" else RunFailed
            return kind(words, problems=(cause,), code=cause.code, vm_state=state)
        state = (
            f"{self._who_runs()}; start none on these disks before another restore has succeeded."
        )
        return UndoIncomplete(
            words, problems=tuple(left), code=cause.code, vm_state=state, left=tuple(left[1:])
        )

    def _who_runs(self) -> str:
        """Whether a QEMU is known to have the disks open: one that could not be ended, or another."""
        users = open_files(disk.file for disk in self.plan.disks).users
        if not users:
            return "No QEMU runs"
        pids = ", ".join(map(str, sorted(users)))
        return f"Process {pids} still has these disks open, and is to be ended first"
