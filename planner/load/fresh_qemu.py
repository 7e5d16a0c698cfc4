"""Going back to a snapshot in a fresh QEMU: which files it opens, how it starts, what it is told.

Nothing that the snapshot consists of is ever written again, so it can be restored any number of times:

- a frozen image gets another new overlay; what the VM wrote since stays in the overlay of before;
- an internal part stays in its image.  An overlay cannot be put on it, since an overlay lies on an image
  as it is now.  So the image is reverted, by id (fact 9), which gives up what it holds now; or, with a
  folder for copies, what it held is written to a new image and the old one is not touched at all.  Where
  the machine state is inside an image as well, the whole images are copied: a converted image holds the
  disk's content only, and `snapshot-load` reverts each disk by itself;
- a stream of machine state is only read.

QEMU starts with ``-S``, so that nothing runs before everything is known to be right.  A stream is read
by ``-incoming defer`` and `migrate-incoming` through a descriptor that is passed over the socket, since
QEMU may run as somebody who may not open it: in a set (fact 75), before 8.2 by a name (fact 31).  Who
does it by hand says its path (``file:``) where QEMU knows that; no command line of a shell is made.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from attrs import evolve, frozen

from planner.errors import Problem, Refused
from planner.model.facts import Facts, QemuVersion
from planner.model.file_record import NO_FILES, FileRecord
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted, not_accepted
from planner.parts.disk_part import DiskPart
from planner.parts.file_checks import file_problems
from planner.parts.left_out_checks import left_out_problems
from planner.parts.manifest import Manifest
from planner.parts.part import Seen
from planner.parts.part_checks import manifest_problems
from planner.parts.part_image import ImagesByDisk
from planner.parts.readied import LOSING, Readied, Restoring
from planner.parts.recorded_files import FoundFile
from planner.parts.stream import MAPPED, StateStream
from planner.parts.vmstate_image import VmstateImage
from planner.program.program import DESCRIPTOR_NAME
from planner.program.resolution import Settings, descriptor_set
from planner.program.settings import left_as_found, settings_commands, settings_of_stream

__all__ = [
    "RestorePlan",
    "RestoredDisk",
    "expected",
    "plan_restore",
    "qmp_steps",
    "reading_settings",
    "restore_problems",
]

_FILE_URI_SINCE = (8, 2)


@frozen
class RestoredDisk:
    """One disk.

    Attributes:
        part: Where its part is.
        how: How it is made what it was.
        file: What the new QEMU opens.
        format: Its format.
    """

    part: DiskPart
    how: Readied
    file: str
    format: str


@frozen
class RestorePlan:
    """A restore with nothing left to decide.

    Attributes:
        manifest: The snapshot.
        disks: In the manifest's order.
        stream: Machine state in a file; None where there is none.
        accepted: What may differ of the fresh QEMU, and of what was left out.
        number: Which restore of the snapshot it is; the new files are named by it.
    """

    manifest: Manifest
    disks: tuple[RestoredDisk, ...]
    stream: StateStream | None = None
    accepted: Accepted = NOTHING_ACCEPTED
    number: int = 1

    @property
    def loads(self) -> bool:
        """Whether the machine state is inside an image, and `snapshot-load` reads it."""
        return self.stream is None and self.manifest.vmstate is not None

    @property
    def image(self) -> VmstateImage | None:
        """Machine state in an image of its own; None: there is none."""
        return next(iter(self.manifest.of(VmstateImage)), None)

    @property
    def loses(self) -> tuple[RestoredDisk, ...]:
        """The disks whose present content is lost."""
        return tuple(disk for disk in self.disks if disk.how in LOSING)

    @property
    def makes(self) -> tuple[RestoredDisk, ...]:
        """The disks that get a new file."""
        return tuple(disk for disk in self.disks if disk.how not in LOSING)

    @property
    def reverts(self) -> bool:
        """Whether an image is reverted before QEMU is started, so that nothing can be asked before."""
        return any(disk.how is Readied.REVERT for disk in self.disks)

    @property
    def arguments(self) -> tuple[str, ...]:
        """What QEMU's command line needs beside the VM's own arguments."""
        return ("-S", "-incoming", "defer") if self.stream else ("-S",)


def plan_restore(  # noqa: PLR0913 - what it depends on
    manifest: Manifest,
    images: ImagesByDisk,
    sizes: Mapping[str, int | None],
    others: Sequence[Manifest] = (),
    *,
    copies: str = "",
    taken: Iterable[str] = (),
    files: Mapping[str, FileRecord] = NO_FILES,
    accepted: Accepted = NOTHING_ACCEPTED,
    saved: Mapping[str, FoundFile] | None = None,
    numbers: Container[int] = (),
) -> RestorePlan:
    """Decide a restore.

    Args:
        manifest: The snapshot.
        images: By disk, its images by file, as they are on the disk.
        sizes: Bytes of each stream's file; None where it is not there.
        others: The other snapshots of its VM, so that none of theirs is written to.
        copies: Folder for copies of images that would else be reverted; empty: they are reverted.
        taken: Paths at which there is something.
        files: What the images are that were left out (`planner.host.left_out.look_at_left_out`).
        accepted: What may differ.
        saved: The files that must be what they were, as they are.
        numbers: Those that earlier restores of the snapshot have.

    Raises:
        Refused: With every problem; nothing was changed.
    """
    problems = sorted(
        {
            *restore_problems(manifest, images, sizes, files=files, accepted=accepted, saved=saved),
            *(_uncopied(manifest, images) if copies else _needed(manifest, others)),
        }
    )
    if problems:
        message = f"snapshot {manifest.tag!r} cannot be restored safely"
        raise Refused(message, problems=tuple(problems), code="load-refused")
    loads = any(part.holds_state and part.read_by_load for part in manifest.parts)
    number, names = 1, set(taken)
    while number in numbers or not names.isdisjoint(
        _new_files(manifest, Restoring(copies, (), loads, number))
    ):
        number += 1
    disks = []
    for part in manifest.disk_parts:
        place = part.restored(Restoring(copies, names, loads, number))
        names.add(place.file)
        disks.append(RestoredDisk(part, place.how, place.file, place.format))
    streams = manifest.of(StateStream)
    return RestorePlan(manifest, tuple(disks), streams[0] if streams else None, accepted, number)


def restore_problems(  # noqa: PLR0913 - what it depends on
    manifest: Manifest,
    images: ImagesByDisk,
    sizes: Mapping[str, int | None],
    *,
    files: Mapping[str, FileRecord] = NO_FILES,
    accepted: Accepted = NOTHING_ACCEPTED,
    saved: Mapping[str, FoundFile] | None = None,
) -> Iterator[Problem]:
    """Why no fresh QEMU could go back to a snapshot, wherever its disks are made; see `plan_restore`."""
    yield from _problems(manifest, images, sizes)
    yield from file_problems(manifest, saved or {})
    yield from not_accepted(left_out_problems(manifest, files), accepted)


def _new_files(manifest: Manifest, restoring: Restoring) -> set[str]:
    places = (part.restored(restoring) for part in manifest.disk_parts)
    return {place.file for place in places if place.how not in LOSING}


def _problems(
    manifest: Manifest, images: ImagesByDisk, sizes: Mapping[str, int | None]
) -> Iterator[Problem]:
    yield from manifest_problems(manifest)
    for part in manifest.parts:
        yield from part.restore_problems(manifest.tag, Seen(images, sizes))


def _uncopied(manifest: Manifest, images: ImagesByDisk) -> Iterator[Problem]:
    """Images that cannot be copied whole: the name of what lies under them may be relative."""
    holder = manifest.vmstate
    if holder is None or not holder.read_by_load:
        return
    for part in manifest.parts:
        image = images.get(part.disk, {}).get(part.file)
        if not part.external and image is not None and image.backing:
            words = (
                f"{part.file} lies on {image.backing[0]}, and is not copied with its machine state"
            )
            yield Problem("load-cannot", part.disk, words, "leave --copy-to out")


def _needed(manifest: Manifest, others: Sequence[Manifest]) -> Iterator[Problem]:
    """Images that would be reverted, and that another snapshot has frozen as they are."""
    frozen_by = manifest.frozen_elsewhere(others)
    for part in manifest.parts:
        if not part.external and part.file in frozen_by:
            yield Problem(
                "part-needed",
                part.disk,
                f"{part.file} would be reverted, and is frozen as a part of {frozen_by[part.file]!r}",
                "restore into copies (--copy-to FOLDER), or delete that snapshot first",
            )


def reading_settings(plan: RestorePlan, facts: Facts | None = None) -> Settings:
    """What the fresh QEMU's migration settings are to be while it reads a stream (fact 64).

    Args:
        plan: What is restored.
        facts: The QEMU; None: it is not there yet, and taken to have ordinary settings.
    """
    if plan.stream is None:
        return Settings()
    mapped = (MAPPED,) if plan.stream.format == MAPPED else ()
    if facts is None:
        return Settings(
            capabilities=tuple((name, True) for name in mapped),
            capabilities_before=tuple((name, False) for name in mapped),
        )
    return settings_of_stream(facts, (*mapped, *left_as_found(facts)), {})


def qmp_steps(
    plan: RestorePlan,
    qemu: QemuVersion,
    settings: Settings | None = None,
    *,
    passing: bool = False,
) -> Iterator[tuple[str, dict[str, object]]]:
    """What the fresh QEMU is told before the guest may run: commands with their arguments.

    Args:
        plan: What is restored.
        qemu: The QEMU that is started; before 8.2 a descriptor goes with `getfd`.
        settings: What it is set to (`reading_settings`).
        passing: Whether the file can be passed to any QEMU, whoever it runs as (fact 75); else it is
            read by its path, which somebody who sends the commands by hand can do more easily.
    """
    if plan.stream is not None:
        wanted = reading_settings(plan) if settings is None else settings
        yield from settings_commands(wanted.capabilities, wanted.parameters)
        if (qemu.major, qemu.minor) >= _FILE_URI_SINCE:
            number = descriptor_set(plan.stream.file)
            if passing:
                yield "add-fd", {"fdset-id": number, "opaque": DESCRIPTOR_NAME}
            source = f"/dev/fdset/{number}" if passing else plan.stream.file
            begins = plan.stream.begins_bytes
            behind = f",offset={begins}" if begins else ""
            yield "migrate-incoming", {"uri": f"file:{source}{behind}"}
        else:
            yield "getfd", {"fdname": DESCRIPTOR_NAME}
            yield "migrate-incoming", {"uri": f"fd:{DESCRIPTOR_NAME}"}


def expected(plan: RestorePlan) -> Manifest:
    """The manifest as the fresh QEMU should show it: internal parts at their files of now.

    What `snapshot-load` has nothing to do with, disks under new overlays, counts as left out.
    """
    shown = [(disk.part, disk.part.expected_at(disk.file)) for disk in plan.disks]
    internal = tuple(part for _, part in shown if part is not None)
    alone = () if plan.image is None else (plan.image,)
    others = tuple(part.disk for part, there in shown if there is None)
    return evolve(
        plan.manifest, parts=(*internal, *alone), excluded=(*plan.manifest.excluded, *others)
    )
