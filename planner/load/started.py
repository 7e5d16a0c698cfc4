"""Whether a QEMU that was started for a restore is the VM that was saved, on the images made for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import frozen

from planner.errors import Problem
from planner.group.record import GroupRecord
from planner.host.left_out import look_at_left_out
from planner.inspect.offline import may_be_one
from planner.load.fresh_qemu import RestoredDisk, RestorePlan
from planner.model.facts import Disk, Facts
from planner.parts.left_out_checks import left_out_problems
from planner.parts.part_checks import vm_problems
from planner.parts.readied import Readied

__all__ = ["GroupRestored", "Restored", "started_problems"]


@frozen
class Restored:
    """A QEMU that was started, and goes on without snapplan.

    Attributes:
        plan: What was restored, and in which files.
        pid: Its process.
        socket: Its QMP socket.
        run_state: What it does.
    """

    plan: RestorePlan
    pid: int
    socket: str
    run_state: str


@frozen
class GroupRestored:
    """A group whose members run in QEMUs that go on without snapplan.

    Attributes:
        record: The group.
        members: Each member's QEMU and disks, by its name.
    """

    record: GroupRecord
    members: Mapping[str, Restored]


def started_problems(plan: RestorePlan, facts: Facts) -> Iterator[Problem]:
    """What of a QEMU that was started is not as the restore wants it, before it is told anything."""
    wanted = "inmigrate" if plan.stream else "prelaunch"
    if facts.run_state != wanted:
        words = f"it is {facts.run_state!r} and should be {wanted!r}"
        remedy = (
            f"let the command line have {' '.join(plan.arguments)}, and nothing against it; "
            'a start script has to pass on what it is given ("$@")'
        )
        yield Problem("run-state-unexpected", "vm", words, remedy)
    by_name = {disk.name: disk for disk in facts.disks}
    for disk in plan.disks:
        found = by_name.get(disk.part.disk)
        if found is None:
            words = "QEMU was started without this disk"
            yield Problem("part-disk-missing", disk.part.disk, words, "name its node as it was")
        elif found.filename != disk.file:
            words = f"its image should be {disk.file} and is {found.filename}"
            yield Problem("part-file-differs", disk.part.disk, words)
        else:
            yield from _chain_problems(disk, found)
    yield from vm_problems(plan.manifest, facts)
    yield from left_out_problems(plan.manifest, look_at_left_out(plan.manifest), facts)


def _chain_problems(disk: RestoredDisk, found: Disk) -> Iterator[Problem]:
    """Whether QEMU has opened each image in its own format, on the images that it lay on."""
    name, part = disk.part.disk, disk.part
    if found.driver != disk.format:
        words = f"its image is {disk.format}, and QEMU has opened it as {found.driver}"
        remedy = f"say format={{format:{name}}} on the command line"
        yield Problem("part-format-differs", name, words, remedy)
    if disk.how is not Readied.NEW_OVERLAY or part.chain is None:
        return
    wanted = ((part.file, part.format), *part.chain)
    opened = tuple((layer.filename, layer.driver) for layer in found.backing)
    if len(wanted) != len(opened) or not all(map(_same, wanted, opened)):
        was, now = (" on ".join(f"{f} ({d})" for f, d in chain) for chain in (wanted, opened))
        words = f"it lay on {was} when it was saved, and QEMU has opened {now or 'nothing'}"
        yield Problem("chain-differs", name, words, "an image's header names another file now")


def _same(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether two images are one file in one format."""
    return one[1] == other[1] and may_be_one(one[0], other[0])
