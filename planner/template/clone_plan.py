"""What a clone is started as, decided before anything is made.

A clone is a QEMU that goes on from a template: its disks are new overlays on what the template's lie on,
its memory is the template's files, mapped for itself alone, and it reads the devices' state and nothing
else.  Nothing of the template is ever written to, so any number of clones may run side by side.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence

from attrs import frozen

from planner.errors import Problem
from planner.load.command_line import OwnNames, fill_template
from planner.model.facts import QemuVersion
from planner.model.file_record import FileRecord
from planner.parts.disk_part import DiskPart
from planner.parts.manifest import Manifest
from planner.parts.overlay import FrozenImage
from planner.parts.readied import Restoring, free_name
from planner.parts.template import Template
from planner.template.memory_words import maps_read_only, with_memory
from planner.template.proving import prove_start

__all__ = [
    "CloneDisk",
    "ClonePlan",
    "Cloned",
    "clone_words",
    "free_number",
    "is_evidently_same",
    "memory_seen_problems",
    "place_disks",
    "said_words",
    "same_in_all",
    "template_disk_problems",
]

_NETWORK = r"virtio-net|e1000|rtl8139|vmxnet3|pcnet|ne2k|igb|-nic\s|-net\s"
_ARGUMENTS = ("-S", "-incoming", "defer")


@frozen
class CloneDisk:
    """One disk of a clone.

    Attributes:
        part: The snapshot's part of it.
        file: The overlay that is made for the clone.
        base: What it lies on.
        base_format: The format of that.
    """

    part: DiskPart
    file: str
    base: str
    base_format: str


@frozen
class ClonePlan:
    """A clone with nothing left to decide.

    Attributes:
        manifest: The snapshot.
        template: Its template.
        number: Which restore of the snapshot it is.
        disks: In the manifest's order.
        socket: Where its QEMU listens.
        own: What tells it from the other clones.
        words: QEMU's command line.
    """

    manifest: Manifest
    template: Template
    number: int
    disks: tuple[CloneDisk, ...]
    socket: str
    own: OwnNames
    words: tuple[str, ...]


@frozen
class Cloned:
    """A clone that was started.

    Attributes:
        plan: What it was started as.
        pid: Its process.
        run_state: What it does.
        spare: Whether it had been waiting.
        same: What it has in common with other clones, in sentences.
    """

    plan: ClonePlan
    pid: int
    run_state: str
    spare: bool = False
    same: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.plan.manifest.tag}.restored-{self.plan.number}"


def place_disks(
    manifest: Manifest, template: Template, folder: str, number: int, taken: Collection[str] = ()
) -> tuple[CloneDisk, ...]:
    """Where a clone's overlays are: beside the first overlay of a frozen image, else beside the copy.

    Args:
        manifest: The snapshot.
        template: Its template, with a disk for each part (`template_disk_problems`).
        folder: Where all of them are wanted; empty: as said.
        number: Which restore of the snapshot it is.
        taken: Paths at which there is something.
    """
    bases = {each.disk: each for each in template.disks}
    names, made = set(taken), []
    for part in manifest.disk_parts:
        base = bases[part.disk]
        if isinstance(part, FrozenImage) and not folder:
            file = part.restored(Restoring("", names, loads=False, number=number)).file
        else:
            where = folder or base.file.rpartition("/")[0]
            slug = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{manifest.tag}.{part.disk}")[:80].lstrip(".")
            file = free_name(where, f"{slug}.qcow2", names, number)
        names.add(file)
        made.append(CloneDisk(part, file, base.file, base.format))
    return tuple(made)


def free_number(
    numbers: Container[int],
    files: Callable[[int], Collection[str]],
    there: Callable[[str], bool],
    first: int = 1,
) -> int:
    """The next number that no restore has, and whose files' names are free."""
    number = first
    while number in numbers or any(map(there, files(number))):
        number += 1
    return number


def clone_words(
    line: str | Sequence[str],
    template: Template,
    disks: Sequence[CloneDisk],
    socket: str,
    own: OwnNames,
) -> tuple[str, ...]:
    """QEMU's command line.

    Args:
        line: With its places.
        template: Whose memory is mapped.
        disks: Of the clone.
        socket: Where it is to listen.
        own: What tells it from others.

    Raises:
        BadInput: The line cannot be used.
        Violation: A clone that is started so would not be safe (`planner.verify.template`).
    """
    places = {disk.part.disk: (disk.file, "qcow2") for disk in disks}
    filled = fill_template(line, places, socket, own)
    private = with_memory(
        filled, template.memory, share=False, read_only=maps_read_only(template.qemu)
    )
    words = (*private, *_ARGUMENTS)
    prove_start(words, template, template.qemu)
    return words


def said_words(line: str | Sequence[str]) -> tuple[str, ...]:
    """A line as words; what cannot be split is no line at all (`fill_template` says what is wrong)."""
    try:
        return tuple(shlex.split(line)) if isinstance(line, str) else tuple(line)
    except ValueError:
        return ()


def template_disk_problems(manifest: Manifest, template: Template) -> Iterator[Problem]:
    """Whether the template has something for each of the snapshot's disks to lie on."""
    known = {each.disk for each in template.disks}
    for part in manifest.disk_parts:
        if part.disk not in known:
            words = "the template has nothing that an overlay of it could lie on"
            yield Problem("template-malformed", part.disk, words, "make the template again")


def is_evidently_same(was: FileRecord, now: FileRecord) -> bool:
    """Whether a file is the very one that was recorded, and nobody has written to it since."""
    return (was.size_bytes, was.inode, was.mtime_ns) == (now.size_bytes, now.inode, now.mtime_ns)


def memory_seen_problems(
    template: Template,
    qemu: QemuVersion,
    run_state: str,
    seen: Mapping[str, Mapping[str, object]],
) -> Iterator[Problem]:
    """What of a QEMU that waits for the devices' state is not as a clone must be.

    A clone that shared the memory would write to the template, and every later clone would go on from
    what it has written; QEMU says nothing of it.

    Args:
        template: What it is started from.
        qemu: Which QEMU it is.
        run_state: What it does.
        seen: By id, the properties of each memory object, as QEMU has them.
    """
    if _numbers(qemu) != _numbers(template.qemu):
        words = f"the template was made by QEMU {template.qemu}, and this is {qemu}"
        remedy = "make the template again with this QEMU; --no-template restores without it"
        yield Problem("template-qemu-differs", "vm", words, remedy)
    if run_state != "inmigrate":
        words = f"it is {run_state!r} and should wait for its state ('inmigrate')"
        yield Problem("run-state-unexpected", "vm", words, "say no -incoming on the command line")
    for one in template.memory:
        has = seen.get(one.id, {})
        wanted = {"share": False, "mem-path": one.file, "size": one.size_bytes}
        for name, value in wanted.items():
            if has.get(name) != value:
                words = f"its {name} should be {value} and is {has.get(name)}"
                remedy = "say nothing else of this memory object on the command line"
                yield Problem("template-memory", one.id, words, remedy)


def _numbers(qemu: QemuVersion) -> tuple[int, int, int]:
    return qemu.major, qemu.minor, qemu.micro


def same_in_all(words: Sequence[str]) -> Iterator[str]:
    """What clones of one template have in common whatever is done, and what their line leaves so.

    Args:
        words: The line with its places.
    """
    line = " ".join(words)
    if "vmgenid" not in line:
        yield (
            "the guest is not told that it is a clone: its random numbers, keys and ids go on the same "
            "in each (a `-device vmgenid,guid=auto` in the VM that is saved tells it)"
        )
    elif "guid=auto" not in line:
        yield "the generation id: say guid=auto, and each clone's guest is told of a new one"
    if re.search(_NETWORK, line):
        yield (
            "MAC addresses: the guest's network devices go on with those that they were saved with, "
            "whatever the command line says; on one network only one clone can be heard"
        )
    if "hostfwd" in line and "{clone}" not in line:
        yield "the forwarded ports of the host: only one clone can have them (say {clone} in them)"
    if "{uuid}" not in line:
        yield "the UUID, by which QEMU and its managers know the VM (-uuid {uuid})"
