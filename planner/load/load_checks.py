"""Whether a snapshot can be loaded: everything is asked before one disk is touched.

QEMU's `snapshot-load` stops the guest first, looks afterwards, reverts disk by disk, has no way back,
and leaves a failed load in `restore-vm` (facts 18 to 20).  So whatever can make it fail, or make it
succeed with the wrong thing, is looked for here, on all disks, and told all at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from attrs import field, frozen

from planner.compile.refusals import vm_problems as busy_problems
from planner.errors import Problem, Refused, in_order
from planner.load.ended_guest import (
    ENDED,
    Wanted,
    is_reset_first,
    keeps_code,
    run_state_problems,
)
from planner.model.facts import Facts
from planner.model.file_record import NO_FILES, FileRecord
from planner.model.request import RunStateAfter
from planner.model.tag import tag_problems
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted, not_accepted
from planner.parts.file_checks import file_problems
from planner.parts.internal import InternalSnapshot
from planner.parts.left_out_checks import left_out_problems
from planner.parts.manifest import Manifest
from planner.parts.part_checks import manifest_problems, vm_problems
from planner.parts.part_image import ImagesByDisk
from planner.parts.recorded_files import FoundFile
from planner.parts.vmstate_image import VmstateImage
from planner.program.resolution import Settings, overlay_node_name
from planner.program.schema import CommandSchema
from planner.program.settings import settings_for

__all__ = ["LoadPlan", "LoadedImage", "LoadedPart", "load_problems", "plan_load"]

_TOLD_APART = ("running", "suspended", "shutdown", "io-error", "internal-error")
"""Run states that the VM is told to have been in; from the others a load is as from paused."""
_MINDS_ERRORS_SINCE = (10, 0)


@frozen
class LoadedPart:
    """One disk that is reverted.

    Attributes:
        disk: Canonical name.
        node: Live name of its image node: never a filter's (fact 45).
        snapshot_id: Id of its part.
        vm_clock_ns: The part's instant.
        names: What QEMU may call the disk in an error: its node's name, or its ``-drive`` id.
    """

    disk: str
    node: str
    snapshot_id: str
    vm_clock_ns: int
    names: tuple[str, ...] = ()


@frozen
class LoadedImage:
    """Machine state in an image of its own, which QEMU gets a node of for the load.

    Attributes:
        file: The image.
        node: The node's name.
        snapshot_id: Id of the snapshot in it.
        vm_clock_ns: The snapshot's instant.
    """

    file: str
    node: str
    snapshot_id: str
    vm_clock_ns: int


@frozen
class LoadPlan:
    """A load that passed the preflight, with nothing left to decide.

    Attributes:
        tag: The snapshot's tag.
        job_id: Of the job; nobody else's.
        vmstate: Live node that holds the machine state.
        parts: In the order in which QEMU reverts them.
        run_state_before: What the VM is brought back to where nothing was reverted; from ``shutdown``
            only a reset leads to a guest that can run (fact 77).
        run_state_after: ``running`` or ``paused``.
        stopped: Whether the guest was paused already, for this load.
        way_back: Tag of the snapshot of what was there before the load; empty: none.
        outside: What the snapshot never held, and the load leaves as it is: name and type.
        served: Which of that another member of the group has saved: name and member.
        settings: What the VM's migration settings are to be meanwhile.
        minds_errors: Whether this QEMU would revert the disks and then fail as long as it remembers that
            a migration failed (fact 65).
        forgets_error: Whether it does remember one, and has to forget it first.
        stops_by: A tag that nothing has, where the guest must be stopped by a load of it, since QEMU
            would run code of before the load otherwise (fact 76); empty: `stop` will do.
        image: Where the machine state is, if in an image of its own; None: a disk holds it.
        resets: Whether the VM is reset first, since QEMU lets no guest run else (fact 77).
    """

    tag: str
    job_id: str
    vmstate: str
    parts: tuple[LoadedPart, ...]
    run_state_before: str
    run_state_after: str
    stopped: bool = False
    way_back: str = ""
    outside: tuple[tuple[str, str], ...] = ()
    served: tuple[tuple[str, str], ...] = ()
    settings: Settings = field(factory=Settings)
    minds_errors: bool = False
    forgets_error: bool = False
    stops_by: str = ""
    image: LoadedImage | None = None
    resets: bool = False

    @property
    def devices(self) -> tuple[str, ...]:
        """The nodes that QEMU reverts, in its order: what the guest does not use goes first."""
        own = () if self.image is None else (self.image.node,)
        return (*own, *(part.node for part in self.parts))

    @property
    def stops(self) -> bool:
        """Whether the guest runs, or sleeps, and has to be stopped."""
        live = self.run_state_before in ("running", "suspended")
        return live and not self.stopped and not self.resets


def load_problems(  # noqa: PLR0913, PLR0917 - what a load is decided on
    manifest: Manifest,
    facts: Facts,
    images: ImagesByDisk,
    files: Mapping[str, FileRecord] = NO_FILES,
    accepted: Accepted = NOTHING_ACCEPTED,
    saved: Mapping[str, FoundFile] | None = None,
    wanted: Wanted | None = None,
) -> tuple[Problem, ...]:
    """Everything that speaks against a load, in canonical order; empty: it can be done.

    Args:
        manifest: The snapshot.
        facts: The VM now.
        images: What its disks' images hold (`planner.parts.part_image.images_of_vm`).
        files: What the images are that were left out (`planner.host.left_out.look_at_left_out`).
        accepted: What may differ.
        saved: The files that must be what they were, as they are, where they can be seen.
        wanted: What the VM is to do then, and whether it may be reset first.
    """
    problems = [
        *tag_problems(manifest.tag),
        *manifest_problems(manifest),
        *file_problems(manifest, saved or {}),
        *vm_problems(manifest, facts),
        *left_out_problems(manifest, files, facts),
        *_vm_busy(facts),
        *run_state_problems(facts, wanted or Wanted()),
        *_machine_state(manifest),
        *CommandSchema.of(facts.schema).problems("snapshot-load", _example()),
        *_own_image(manifest, facts),
    ]
    by_name = {disk.name: disk for disk in facts.disks}
    for part in manifest.parts:
        problems += part.load_problems(manifest.tag, by_name.get(part.disk), images)
    return in_order(not_accepted(problems, accepted))


def _example() -> dict[str, object]:
    return {"job-id": "j", "tag": "t", "vmstate": "n", "devices": ["n"]}


def _own_image(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    """Whether QEMU can be given a node of machine state that has an image of its own."""
    schema = CommandSchema.of(facts.schema)
    for image in manifest.of(VmstateImage):
        node = _node_of(manifest, image)
        for name in ("add-fd", "blockdev-add", "blockdev-del", "remove-fd"):
            if not schema.has_command(name):
                yield Problem("command-lacking", name, "this QEMU has no such command")
        if any(node in disk.names for disk in facts.disks):
            words = "QEMU has a node of this name already, perhaps from a load that was cut off"
            yield Problem("node-left", node, words, "take it out with blockdev-del")


def _node_of(manifest: Manifest, image: VmstateImage) -> str:
    return overlay_node_name(manifest.tag, image.file)


def _vm_busy(facts: Facts) -> Iterator[Problem]:
    for problem in busy_problems(facts, machine_state=False):
        if problem.code != "run-state-unsupported":  # a load leads out of more than a save does
            yield problem


def _machine_state(manifest: Manifest) -> Iterator[Problem]:
    holder = manifest.vmstate
    if holder is None:
        yield Problem(
            "disk-only",
            manifest.tag,
            "it holds no machine state, and no QMP command reverts a disk (fact 21)",
            "end the VM, then `snapplan load --offline`",
        )


def plan_load(  # noqa: PLR0913, PLR0917 - what it depends on
    manifest: Manifest,
    facts: Facts,
    images: ImagesByDisk,
    wanted: Wanted | None = None,
    files: Mapping[str, FileRecord] = NO_FILES,
    accepted: Accepted = NOTHING_ACCEPTED,
    saved: Mapping[str, FoundFile] | None = None,
) -> LoadPlan:
    """Decide a load; see `load_problems`.

    Raises:
        Refused: With every problem; the VM was asked questions only.
    """
    wanted = wanted or Wanted()
    problems = load_problems(manifest, facts, images, files, accepted, saved, wanted)
    if problems:
        raise Refused(
            f"snapshot {manifest.tag!r} cannot be loaded safely",
            problems=problems,
            code="load-refused",
        )
    by_name = {disk.name: disk for disk in facts.disks}
    live = facts.live_nodes
    parts = []
    vmstate = ""
    for part in manifest.of(InternalSnapshot):
        disk = by_name[part.disk]
        node = live.get(disk.node, disk.node)
        names = tuple(dict.fromkeys(filter(None, (node, disk.drive_id, disk.qdev_id))))
        parts.append(LoadedPart(part.disk, node, part.snapshot_id, part.vm_clock_ns, names))
        if part.vm_state_size_bytes:
            vmstate = node
    own = None
    for image in manifest.of(VmstateImage):
        vmstate = _node_of(manifest, image)
        own = LoadedImage(image.file, vmstate, image.snapshot_id, image.vm_clock_ns)
    resets = is_reset_first(facts, wanted)
    told_apart = resets or facts.run_state in _TOLD_APART
    before = facts.run_state if told_apart else "paused"
    as_before = "running" if facts.run_state in ("running", *ENDED) else "paused"
    forgotten = facts.run_state == "restore-vm"  # a load stopped it, and nothing has run since
    minds = (facts.qemu.major, facts.qemu.minor) >= _MINDS_ERRORS_SINCE
    after = as_before if wanted.after is RunStateAfter.AS_BEFORE else wanted.after.value
    return LoadPlan(
        tag=manifest.tag,
        job_id=_free_job_id(manifest, facts),
        vmstate=vmstate,
        parts=tuple(parts),
        run_state_before=before,
        run_state_after=after,
        outside=manifest.outside,
        served=manifest.served,
        settings=settings_for(facts),
        minds_errors=minds,
        forgets_error=minds and bool(facts.migration_error),
        stops_by=_no_tag(facts) if keeps_code(facts) and not forgotten else "",
        image=own,
        resets=resets,
    )


def _no_tag(facts: Facts) -> str:
    """A tag that is no snapshot's name and no snapshot's id."""
    taken = {
        name for disk in facts.disks for held in disk.snapshots for name in (held.name, held.id)
    }
    number = 1
    while f"snapplan-none-{number}" in taken:
        number += 1
    return f"snapplan-none-{number}"


def _free_job_id(manifest: Manifest, facts: Facts) -> str:
    words = [manifest.tag, manifest.program_digest, *(part.plain_id for part in manifest.parts)]
    digest = hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]
    taken = {job.id for job in facts.jobs}
    wanted = f"snapplan-load-{digest}"
    number = 1
    job_id = wanted
    while taken & {job_id, stopping_job_id(job_id)}:
        number += 1
        job_id = f"{wanted}-{number}"
    return job_id


def stopping_job_id(job_id: str) -> str:
    """The id of the job that stops the guest, beside the one that loads."""
    return f"{job_id}-stop"
