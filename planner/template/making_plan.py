"""What making a template is to do, decided before anything is made.

The disks that the template's QEMU opens are throw-away overlays: on the image that a snapshot froze, or
on a copy of what an internal snapshot holds.  To QEMU that is a snapshot whose every disk is frozen
under an overlay, so that is what the rest is told (`as_frozen`): one kind of disk, however the snapshot
was made.  Machine state inside an image, a disk's or its own, is read through a throw-away layer over
the bytes of that image, which is no disk of the machine then, and is opened for reading only.

Whatever is made has a temporary name until all of it is there; each name has the making's token in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import evolve, frozen

from planner.errors import Problem
from planner.load.fresh_qemu import RestoredDisk, RestorePlan
from planner.model.file_record import UNSEEN
from planner.parts.accepting import NOTHING_ACCEPTED, Accepted
from planner.parts.disk_part import DiskPart
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.parts.overlay import FrozenImage
from planner.parts.part import ManifestPart
from planner.parts.reach import ENCRYPTED
from planner.parts.readied import Readied
from planner.parts.stream import StateStream
from planner.parts.template import TemplateMemory
from planner.program.resolution import temporary_path
from planner.template.memory_words import memory_objects, memory_sizes

__all__ = [
    "CopiedDisk",
    "MakingPlan",
    "as_frozen",
    "encrypted_problems",
    "memory_of",
    "memory_problems",
    "plan_making",
]

_SLUG_CHARACTERS = 40
_KINDS = frozenset(f"memory-backend-{kind}" for kind in ("ram", "file", "memfd", "shm"))


@frozen
class CopiedDisk:
    """A disk whose part is inside an image: what a clone's overlay lies on is a copy of that.

    Attributes:
        part: The part.
        file: The copy.
    """

    part: InternalSnapshot
    file: str

    @property
    def temporary(self) -> str:
        """Its name until the template is complete."""
        return temporary_path(self.file)


@frozen
class MakingPlan:
    """A template's making with nothing left to decide.

    Attributes:
        manifest: The snapshot.
        token: What stands in each name.
        restore: How its QEMU is started: every disk on a throw-away overlay.
        copies: The disks that are copied first.
        memory: The memory objects, with the files that they get in the end.
        state: The file that the devices' state gets.
        holder: The part that holds the machine state inside an image; None: it is in a stream.
    """

    manifest: Manifest
    token: str
    restore: RestorePlan
    copies: tuple[CopiedDisk, ...]
    memory: tuple[TemplateMemory, ...]
    state: str
    holder: ManifestPart | None = None

    @property
    def held_state(self) -> str:
        """The file of the throw-away layer over the disk's image that holds the machine state.

        Empty: no disk's image does.  An image of its own gets a layer without a name.
        """
        in_disk = self.holder is not None and self.holder.disk
        return temporary_path(f"{self.state}.held") if in_disk else ""

    @property
    def memory_being_made(self) -> tuple[TemplateMemory, ...]:
        """The memory objects, with their temporary files."""
        return tuple(evolve(each, file=temporary_path(each.file)) for each in self.memory)

    @property
    def throw_away(self) -> tuple[str, ...]:
        """What is not needed any more when the template is there, whatever became of it."""
        overlays = tuple(disk.file for disk in self.restore.disks)
        held = (self.held_state,) if self.held_state else ()
        copied = tuple(each.temporary for each in self.copies)
        memory = tuple(each.file for each in self.memory_being_made)
        return (*overlays, *held, *copied, *memory, temporary_path(self.state))

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that is made, by every name that it has at some time; the overlays first."""
        half_made = (*(disk.file for disk in self.restore.disks), *self._half_made)
        return (
            *self.throw_away,
            *map(temporary_path, half_made),
            self.state,
            *(each.file for each in self.memory),
            *(each.file for each in self.copies),
        )

    @property
    def _half_made(self) -> tuple[str, ...]:
        """What the host makes under a name of its own first."""
        held = (self.held_state,) if self.held_state else ()
        return (*(each.temporary for each in self.copies), *held)


def plan_making(
    manifest: Manifest,
    folder: str,
    token: str,
    memory: Sequence[tuple[str, int]],
    accepted: Accepted = NOTHING_ACCEPTED,
) -> MakingPlan:
    """Decide it; what could speak against it was asked before.

    Args:
        manifest: The snapshot; it has machine state.
        folder: Where the template's files are to be, an absolute path.
        token: Random; nothing in the folder has it in its name.
        memory: Id and bytes of each memory object.
        accepted: What may differ of the QEMU that is started.
    """
    taken: set[str] = set()

    def named(what: str, suffix: str) -> str:
        name, number = f"{_slug(manifest.tag)}.template-{token}.{what}", 1
        while f"{name}{suffix}" in taken:
            number += 1
            name = f"{_slug(manifest.tag)}.template-{token}.{what}-{number}"
        taken.add(f"{name}{suffix}")
        return f"{folder.rstrip('/')}/{name}{suffix}"

    copies = tuple(
        CopiedDisk(part, named(_slug(part.disk), ".qcow2"))
        for part in manifest.of(InternalSnapshot)
    )
    bases = {each.part.disk: each.temporary for each in copies}
    overlays = {
        part.disk: temporary_path(named(_slug(part.disk), ".throw-away"))
        for part in manifest.disk_parts
    }
    shown = as_frozen(manifest, bases, overlays)
    disks = tuple(
        RestoredDisk(part, Readied.NEW_OVERLAY, part.overlay_file, "qcow2")
        for part in shown.of(FrozenImage)
    )
    streams = manifest.of(StateStream)
    restore = RestorePlan(shown, disks, streams[0] if streams else None, accepted)
    held = (part for part in manifest.parts if part.holds_state and part.read_by_load)
    return MakingPlan(
        manifest,
        token,
        restore,
        copies,
        tuple(TemplateMemory(one, size, named(_slug(one), ".ram")) for one, size in sorted(memory)),
        named("devices", ".state"),
        holder=next(held, None),
    )


def as_frozen(
    manifest: Manifest, copies: Mapping[str, str], overlays: Mapping[str, str]
) -> Manifest:
    """The snapshot as a QEMU on overlays shows it: every disk's image frozen under one.

    Args:
        manifest: The snapshot.
        copies: By disk, the copy of what an internal snapshot holds.
        overlays: By disk, the overlay that QEMU opens.
    """

    def of_part(part: ManifestPart) -> ManifestPart:
        if not isinstance(part, DiskPart):
            return part
        if isinstance(part, FrozenImage):
            return evolve(part, overlay_file=overlays[part.disk])
        return FrozenImage(
            disk=part.disk,
            file=copies[part.disk],
            format="qcow2",
            record=UNSEEN,
            qdev=part.qdev,
            node=part.node,
            root=part.root,
            virtual_size_bytes=part.virtual_size_bytes,
            backing=(),  # a copy is whole
            overlay_file=overlays[part.disk],
        )

    return evolve(manifest, parts=tuple(map(of_part, manifest.parts)), template=None)


def memory_of(manifest: Manifest, words: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Id and bytes of each object that holds memory, where `memory_problems` has nothing to say."""
    sizes = memory_sizes(words)
    names = _recorded(manifest) or tuple(sizes)
    return tuple((name, sizes.get(name) or manifest.memory_bytes) for name in names)


def memory_problems(manifest: Manifest, words: Sequence[str]) -> Iterator[Problem]:
    """Why the machine's memory cannot be put into files, one for each of its objects."""
    objects, sizes, recorded = memory_objects(words), memory_sizes(words), _recorded(manifest)
    if not recorded:
        yield Problem(
            "template-memory",
            manifest.tag,
            "its record does not say how the machine's memory is called",
            "load it with `load --run`, and save it again",
        )
    for name in sorted({*objects} - {*recorded}) if recorded else ():
        words_ = f"the command line makes memory {name!r}, and the VM that was saved had none of it"
        yield Problem("template-memory", name, words_, "give the VM's own command line")
    unnamed = [name for name in recorded if name not in objects]
    if len(unnamed) > 1:
        yield Problem(
            "template-memory",
            manifest.tag,
            f"the command line does not make the memory {', '.join(unnamed)}",
            "say each memory object with -object: what a configuration file says is not seen",
        )
    elif unnamed and not manifest.memory_bytes:
        remedy = "say it with -object memory-backend-ram and its size"
        yield Problem("template-memory", unnamed[0], "its record has no size of it", remedy)
    for name, kind in sorted(objects.items()):
        if kind not in _KINDS:
            why = f"it is {kind}, which no file can stand for"
            yield Problem("template-memory", name, why, "such a VM has no template")
        elif not sizes.get(name):
            why = "the command line does not say its size in a way that is understood"
            yield Problem("template-memory", name, why, "say size=BYTES, or with K, M, G or T")


def encrypted_problems(manifest: Manifest) -> Iterator[Problem]:
    """Disks of which no copy may be made, since it would hold in the clear what is encrypted."""
    locked = {disk for disk, code in manifest.needs_vm if code == ENCRYPTED}
    for part in manifest.of(InternalSnapshot):
        if part.disk in locked:
            words = f"{part.file} is encrypted, and the template's copy of it would not be"
            remedy = "load the snapshot without a template; such a VM has none"
            yield Problem("template-encrypted", part.disk, words, remedy)


def _recorded(manifest: Manifest) -> tuple[str, ...]:
    return () if manifest.hardware is None else manifest.hardware.memory_backends


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_SLUG_CHARACTERS].strip("-") or "x"
