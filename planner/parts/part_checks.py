"""Whether a snapshot is still what its manifest says: one small function per kind of finding.

QEMU keeps no record of what belongs together: it takes any snapshot of the right tag for a part
(fact 19).  What tells a part from all others is its file, its id, its tag and its vm-clock (fact 15);
all four are compared, and nothing is believed because of its name alone.  Pure: the same values come
from a running VM and from image files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from planner.errors import Problem
from planner.model.facts import Facts, SnapshotInfo
from planner.model.image import Image
from planner.model.manifest import Manifest, ManifestPart, PartKind
from planner.parts.machine_checks import device_problems, hardware_problems

__all__ = [
    "internal_problems",
    "manifest_problems",
    "overlay_problems",
    "part_of",
    "stream_problems",
    "vm_problems",
]

_NS_PER_S = 1e9


def manifest_problems(manifest: Manifest) -> Iterator[Problem]:
    """What is wrong with a manifest in itself: somebody has edited it, or put two together."""
    internal = manifest.of_kind(PartKind.INTERNAL)
    counts = Counter(part.disk for part in manifest.parts if part.disk)
    for disk in sorted(disk for disk, count in counts.items() if count > 1):
        yield Problem("manifest-inconsistent", disk, "the manifest has two parts of this disk")
    if not manifest.parts:
        yield Problem("manifest-inconsistent", manifest.tag, "the manifest has no parts")
    holders = [p for p in manifest.parts if p.kind is PartKind.STREAM or p.vm_state_size_bytes]
    if len(holders) > 1:
        yield Problem(
            "manifest-inconsistent", manifest.tag, "the manifest has the machine state twice"
        )
    clocks = {part.vm_clock_ns for part in internal}
    if holders and len(clocks) > 1:
        yield Problem(
            "parts-differ",
            manifest.tag,
            "the recorded parts are of different instants (vm-clock, fact 15)",
            "the snapshot cannot be loaded as one; delete it",
        )


def internal_problems(
    manifest: Manifest, images: Mapping[str, Mapping[str, Image]]
) -> Iterator[Problem]:
    """Every internal part against the image that should hold it.

    Args:
        manifest: What was recorded.
        images: By disk, its images by file.
    """
    for part in manifest.of_kind(PartKind.INTERNAL):
        if part.disk not in images:
            yield Problem(
                "part-disk-missing",
                part.disk,
                f"this disk is gone; its part is snapshot {part.snapshot_id} of {part.file}",
                "attach the image under the same name again",
            )
        elif part.file not in images[part.disk]:
            yield _file_differs(part, images)
        else:
            yield from _image_problems(manifest.tag, part, images[part.disk][part.file])


def _file_differs(part: ManifestPart, images: Mapping[str, Mapping[str, Image]]) -> Problem:
    now = next((image.file for image in images[part.disk].values() if image.active), "nothing")
    owner = next((disk for disk, files in images.items() if part.file in files), None)
    swapped = f"; {part.file} is disk {owner!r} now" if owner else ""
    return Problem(
        "part-file-differs",
        part.disk,
        f"its image was {part.file} and is {now}{swapped}",
        "attach each image to the disk that it was saved from",
    )


def _image_problems(tag: str, part: ManifestPart, image: Image) -> Iterator[Problem]:
    if image.format != part.format:
        message = f"its image was {part.format} and is {image.format}"
        yield Problem("part-format-differs", part.disk, message)
    if image.virtual_size_bytes != part.virtual_size_bytes:
        yield Problem(
            "part-size-differs",
            part.disk,
            f"the disk had {part.virtual_size_bytes} bytes and has {image.virtual_size_bytes}",
            "the guest would find a disk of another size than it knows",
        )
    held = image.holding(tag)
    if len(held) > 1:
        ids = ", ".join(snapshot.id for snapshot in held)
        yield Problem(
            "part-twice",
            part.disk,
            f"it holds {len(held)} snapshots {tag!r} (ids {ids}); QEMU takes the first (fact 22)",
            f"the snapshot's own has id {part.snapshot_id}; delete the others by id and name",
        )
    found = part_of(part, tag, held)
    if found is None:
        yield _missing(tag, part, image, held)
    else:
        yield from _contents(part, found)


def part_of(part: ManifestPart, tag: str, snapshots: Iterable[SnapshotInfo]) -> SnapshotInfo | None:
    """The snapshot that has a part's id and tag; None where there is none."""
    wanted = (part.snapshot_id, tag)
    return next((found for found in snapshots if (found.id, found.name) == wanted), None)


def _missing(tag: str, part: ManifestPart, image: Image, held: tuple[SnapshotInfo, ...]) -> Problem:
    also = ""
    if held:
        also = f"; it holds another snapshot of that tag (id {held[0].id})"
    elif part.snapshot_id in image.ids:
        also = f"; id {part.snapshot_id} is another snapshot now"
    return Problem(
        "part-missing",
        part.disk,
        f"snapshot {part.snapshot_id} {tag!r} is not in {part.file}{also}",
        "the snapshot is incomplete and cannot be loaded; `snapplan delete` removes the rest",
    )


def _contents(part: ManifestPart, found: SnapshotInfo) -> Iterator[Problem]:
    if found.vm_clock_ns != part.vm_clock_ns:
        yield Problem(
            "part-differs",
            part.disk,
            f"its part is of another instant: vm-clock {_seconds(found.vm_clock_ns)} and not "
            f"{_seconds(part.vm_clock_ns)} (fact 15)",
            "somebody made a snapshot of this tag and id anew; it is no part of this one",
        )
    if found.vm_state_size_bytes != part.vm_state_size_bytes:
        yield Problem(
            "part-differs",
            part.disk,
            f"its machine state has {found.vm_state_size_bytes} bytes and not "
            f"{part.vm_state_size_bytes}",
        )


def _seconds(ns: int) -> str:
    return f"{ns / _NS_PER_S:.9f} s"


def overlay_problems(
    manifest: Manifest, images: Mapping[str, Mapping[str, Image]]
) -> Iterator[Problem]:
    """Every frozen image against the chain that it should lie in; see `internal_problems`."""
    for part in manifest.of_kind(PartKind.OVERLAY):
        files = images.get(part.disk)
        if files is None:
            yield Problem(
                "part-disk-missing",
                part.disk,
                f"this disk is gone; its part is the frozen image {part.file}",
                "attach the overlay under the same name again",
            )
        else:
            yield from _frozen_problems(part, files)


def _frozen_problems(part: ManifestPart, files: Mapping[str, Image]) -> Iterator[Problem]:
    base, overlay = files.get(part.file), files.get(part.overlay_file)
    if base is not None and overlay is None and base.active:
        yield Problem(
            "part-overwritten",
            part.disk,
            f"the guest writes to {part.file}, which was frozen under {part.overlay_file}",
            "its overlay was merged back or left out: the snapshot of this disk is gone",
        )
        return
    restored = overlay is None and base is not None  # it lies under another overlay by now
    if base is None or not (restored or (overlay and overlay.backing[:1] == (part.file,))):
        chain = " on ".join(_chain(files)) or "nothing"
        yield Problem(
            "chain-differs",
            part.disk,
            f"{part.overlay_file} should lie on {part.file}; the chain is {chain}",
        )
        return
    if base.format != part.format:
        message = f"its frozen image was {part.format} and is {base.format}"
        yield Problem("part-format-differs", part.disk, message)
    if base.virtual_size_bytes != part.virtual_size_bytes:
        yield Problem(
            "part-size-differs",
            part.disk,
            f"the disk had {part.virtual_size_bytes} bytes and its frozen image has "
            f"{base.virtual_size_bytes}",
        )


def _chain(files: Mapping[str, Image]) -> tuple[str, ...]:
    top = next((image for image in files.values() if image.active), None)
    return () if top is None else (top.file, *top.backing)


def stream_problems(manifest: Manifest, sizes: Mapping[str, int | None]) -> Iterator[Problem]:
    """Every stream of machine state against its file.

    Args:
        manifest: What was recorded.
        sizes: Bytes of each file; None where it is not there.
    """
    for part in manifest.of_kind(PartKind.STREAM):
        size = sizes.get(part.file)
        if size is None:
            message = "the machine state's file is not there"
            yield Problem("file-missing", part.file, message, "the snapshot cannot be restored")
        elif size != part.vm_state_size_bytes:
            yield Problem(
                "part-differs",
                part.file,
                f"the machine state had {part.vm_state_size_bytes} bytes and has {size}",
            )


def vm_problems(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    """The VM around the parts: the machine, its devices, and disks that should or should not be."""
    yield from _machine_problems(manifest, facts)
    yield from device_problems(manifest, facts)
    yield from hardware_problems(manifest, facts)
    yield from _other_disks(manifest, facts)


def _memory(manifest: Manifest, facts: Facts) -> tuple[str, str]:
    """The guest's memory then and now, in words; empty where it is not known, or no part."""
    if manifest.vmstate is None or not (manifest.memory_bytes and facts.memory_bytes):
        return "", ""
    return f"{manifest.memory_bytes} bytes", f"{facts.memory_bytes} bytes"


def _machine_problems(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    vm = facts.vm_uuid or facts.vm_name
    pairs = (
        ("machine-differs", "machine type", manifest.machine, facts.machine),
        ("machine-differs", "guest architecture", manifest.target, facts.target),
        ("machine-differs", "guest memory", *_memory(manifest, facts)),
        ("vm-differs", "VM's UUID or name", manifest.vm, vm),
    )
    for code, what, was, now in pairs:
        if was != now:
            message = f"the {what} was {was or 'none'!r} and is {now or 'none'!r}"
            yield Problem(code, "vm", message, "start the VM as it was when it was saved")
    made, here = manifest.qemu, facts.qemu
    if manifest.vmstate is not None and (here.major, here.minor) < (made.major, made.minor):
        yield Problem(
            "qemu-older",
            "vm",
            f"QEMU {made} made it and this is QEMU {here}: an older QEMU need not know a newer one's "
            "machine state",
            f"use QEMU {made.major}.{made.minor} or newer",
        )


def _other_disks(manifest: Manifest, facts: Facts) -> Iterator[Problem]:
    parts = {part.disk for part in manifest.parts if part.disk}
    for disk in facts.disks:
        if disk.name in parts:
            continue
        held = disk.holding(manifest.tag)
        if held:
            yield Problem(
                "part-crept-in",
                disk.name,
                f"it holds a snapshot {manifest.tag!r} (id {held[0].id}) and is no part of this one",
                f"delete it by id and name, or keep it under another tag (vm-clock {_held(held)})",
            )
        elif disk.attached and not disk.read_only and disk.name not in manifest.excluded:
            yield Problem(
                "disk-not-in-snapshot",
                disk.name,
                "this writable disk was not there when the snapshot was made: it would stay as it is "
                "now (fact 19)",
                "detach it first",
            )


def _held(held: tuple[SnapshotInfo, ...]) -> str:
    return _seconds(held[0].vm_clock_ns)
