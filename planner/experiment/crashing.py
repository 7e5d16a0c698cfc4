"""A crash case: a save on a real QEMU whose client is killed at a point, then `recover`, then a look.

The VM has a snapshot before that.  It must be whole afterwards, whatever became of the one whose client
died: recorded, verified, sound in its images, and loaded, with a guest that finds its memory as it was.
Clusters that a killed QEMU has leaked are no fault of an image: they cost room, and nothing else.

Rules: the client is a process of its own (`dying`), as snapplan's users have one, and ends with us.
What is judged is what the VM and its images show, not what recovery says of itself.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Iterable

from attrs import define, field

from backends.copies import RestoringHost
from backends.guest_agent import GuestAgent
from backends.images import QemuImages
from backends.tied import tied
from planner.compile.plan import compile_request
from planner.errors import CannotConnect, Problem, RunFailed, SnapplanError
from planner.experiment.asking import check_version
from planner.experiment.experiment import Case, Dies
from planner.experiment.machine import Machine, Shape, running_machine
from planner.experiment.requested import TAG, request_as, request_of
from planner.experiment.result import CaseResult, Crashed, State
from planner.experiment.time_limit import run_limited
from planner.model.facts import Facts
from planner.recover.recovery import Recovered, pending_runs
from planner.run.leftovers import differences, file_left
from planner.run.phases import Phase
from planner.run.pump import ask_facts
from planner.store.store import Store
from planner.verbs.context import Context, Offline
from planner.verbs.load import load
from planner.verbs.recover import recover, recover_unreachable
from planner.verbs.save import check_save, save
from planner.verbs.verify import verify, verify_offline

__all__ = ["crash"]

_OLD = "before"
_CONNECT_S = 30.0
_MEMORY_MIB, _DIRTY_MIB_PER_S = 128, 50
_NOTHING = "nothing"
_OURS = ("store", "qmp", "console")


def crash(case: Case) -> CaseResult:
    """Run a crash case.

    Raises:
        Refused: The design cannot do it on this QEMU.
        SnapplanError: QEMU did not start, or the client ended otherwise than by its death.
        OSError: There is no room for its images.
    """
    return run_limited(case, _crashed(case))


async def _crashed(case: Case) -> CaseResult:
    shape = Shape(
        binary=case.inputs["binary"],
        accelerator=case.inputs["accelerator"],
        disks=int(case.settings["disks"]),
        memory_mib=_MEMORY_MIB,
        dirty_mib_per_s=_DIRTY_MIB_PER_S,
    )
    async with running_machine(shape) as machine:
        return await machine.until_stopped(_Crash(case, machine).run())


@define
class _Crash:
    """One crash, from the snapshot before to the look at what is left."""

    case: Case
    machine: Machine

    async def run(self) -> CaseResult:
        """Do it, and tell what it came to."""
        case, machine = self.case, self.machine
        facts = await ask_facts(machine.backend)
        check_version(case, str(facts.qemu))
        saved = await save(self._context, request_of(self._disks, tag=_OLD))
        saved.outcome.raise_failure()
        before, files = await self._may_save(), self._files()
        await machine.backend.close()
        killed = await self._kill_client()
        recovered = await (self._recover_vm() if self._alive else self._recover_images())
        end = self._end(recovered)
        tags = (_OLD, TAG) if end == Phase.DONE else (_OLD,)
        left = [problem for each in recovered for problem in each.outcome.left]
        if end != Phase.DONE:
            left += map(file_left, sorted(self._files() - files))
        seen = await (
            self._look(before, tags) if self._alive else self._look_at_images(before, tags)
        )
        crashed = Crashed(
            killed=killed,
            end=end,
            left=self._words((*left, *seen.left)),
            findings=self._words(seen.findings),
            qemu_version=str(facts.qemu),
        )
        return CaseResult(case.id, dict(case.settings), case.round, State.DONE, crash=crashed)

    @property
    def _disks(self) -> int:
        return int(self.case.settings["disks"])

    @property
    def _store(self) -> Store:
        return Store(self.machine.folder / "store")

    @property
    def _context(self) -> Context:
        machine = self.machine
        return Context(machine.backend, self._store, machine.socket, GuestAgent)

    @property
    def _alive(self) -> bool:
        """Whether the client alone is killed."""
        return self.case.settings["dies"] == Dies.CLIENT

    @property
    def _offline(self) -> Offline:
        images = QemuImages() if self._alive else _LeakingImages()
        return Offline(self._store, images, RestoringHost())

    async def _may_save(self) -> Facts:
        """The VM as it is before the save that is killed.

        Raises:
            Refused: There can be no such save.
        """
        facts = await ask_facts(self.machine.backend)
        design = str(self.case.settings["design"])
        wanted = request_as(design, self._disks, facts)
        await check_save(self._context, compile_request(wanted, facts, design))
        return facts

    def _files(self) -> frozenset[str]:
        return frozenset(
            str(path) for path in self.machine.folder.iterdir() if path.name not in _OURS
        )

    async def _kill_client(self) -> str:
        """Run the client until it dies; where that was, empty: it came to its end first."""
        asked = {
            "address": self.machine.socket,
            "store": str(self._store.root),
            "design": str(self.case.settings["design"]),
            "disks": str(self._disks),
            "point": str(self.case.settings["point"]),
        }
        words = [sys.executable, "-P", "-m", f"{__package__}.dying", json.dumps(asked)]
        client = await asyncio.create_subprocess_exec(
            *tied(words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.machine.helpers.append(client)
        said, complaint = await client.communicate()
        if client.returncode == -signal.SIGKILL and said:
            return said.decode()
        if client.returncode == 0:
            return ""
        last = (complaint.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        message = f"the client ended with {client.returncode}, and said: {last[:300]}"
        raise RunFailed.of(Problem("case-failed", "client", message))

    async def _recover_vm(self) -> list[Recovered]:
        await self.machine.backend.connect(_CONNECT_S)
        return await recover(self._context)

    async def _recover_images(self) -> list[Recovered]:
        self.machine.process.end()
        if not pending_runs(self._store):
            return []
        try:
            await self.machine.backend.connect(_CONNECT_S)
        except CannotConnect as error:
            return await recover_unreachable(self._offline, self.machine.socket, error)
        raise RunFailed.of(Problem("case-failed", "qemu", "it was killed, and still answers"))

    def _end(self, recovered: list[Recovered]) -> str:
        if recovered:
            return recovered[0].outcome.phase.value
        whole = any(vm.manifest(TAG) is not None for vm in self._store.vms())
        return Phase.DONE.value if whole else _NOTHING

    async def _look(self, before: Facts, tags: tuple[str, ...]) -> _Seen:
        """What the VM shows, and after its end its images."""
        seen = _Seen()
        if TAG not in tags:
            seen.left += differences(before, await ask_facts(self.machine.backend))
        await self._guest_goes_on(seen, "after recover")
        for tag in tags:
            verdict = await verify(self._context, tag)
            seen.findings += verdict.findings
        try:
            (await load(self._context, _OLD)).outcome.raise_failure()
        except SnapplanError as error:
            seen.findings += error.as_problems(_OLD)
        else:
            await self._guest_goes_on(seen, f"after the load of {_OLD}")
        await self.machine.quit()
        await self._verify_images(seen, tags)
        return seen

    async def _look_at_images(self, before: Facts, tags: tuple[str, ...]) -> _Seen:
        seen = _Seen()
        for disk in before.disks:
            for snapshot in await QemuImages().snapshots(disk.filename):
                if snapshot.name not in tags:
                    text = f"snapshot {snapshot.name!r} (id {snapshot.id}) is still there"
                    seen.left.append(Problem("part-left", disk.name, text))
        await self._verify_images(seen, tags)
        return seen

    async def _guest_goes_on(self, seen: _Seen, when: str) -> None:
        if not await self.machine.guest_goes_on():
            message = f"{when} its memory is not what it wrote"
            seen.findings.append(Problem("guest-harmed", "guest", message))

    async def _verify_images(self, seen: _Seen, tags: tuple[str, ...]) -> None:
        """Every snapshot in the files, and the images by `qemu-img check`."""
        for pending in pending_runs(self._store):
            seen.left.append(Problem("recovery-pending", pending.address, "a run is unfinished"))
        for tag in tags:
            try:
                verdict = await verify_offline(self._offline, tag, deep=True)
            except SnapplanError as error:
                seen.findings += error.as_problems(tag)
            else:
                seen.findings += verdict.findings

    def _words(self, problems: Iterable[Problem]) -> tuple[str, ...]:
        """In words, each once, and the same in whatever folder the case ran."""
        folder = str(self.machine.folder)
        words = (problem.words.replace(folder, "/vm") for problem in problems)
        return tuple(dict.fromkeys(words))


class _LeakingImages(QemuImages):
    """Images whose QEMU was killed."""

    async def check(self, filename: str, image_format: str) -> str:
        wrong = await super().check(filename, image_format)
        return ", ".join(each for each in wrong.split(", ") if not each.endswith(" leaks"))


@define
class _Seen:
    """What a look shows: what is left of the killed run, and what is wrong."""

    left: list[Problem] = field(factory=list)
    findings: list[Problem] = field(factory=list)
