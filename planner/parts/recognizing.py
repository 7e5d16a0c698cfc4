"""A recorded part is found again by what it is: its image first, then its device, then its node.

Names do not last.  libvirt and incus count node names up at every start, a path may lead through links
or be written with ``//``, a folder may be moved, and QEMU may show options in the place of a file.  So
before a manifest is compared with anything, it is read as today's names say it: files by the file that
they are, disks by the image that they hold.  What is compared afterwards (id, tag, vm-clock, sizes,
devices) stays as it was recorded, so a wrong guess here is a finding there and never a wrong part.

A disk whose device is another one than recorded keeps the name that it had where that name is taken:
images that were exchanged between two disks are to be found, not followed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from attrs import evolve

from planner.model.facts import Disk, Facts
from planner.parts.disk_part import DiskPart
from planner.parts.machine_checks import device_label, device_ranks
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart
from planner.parts.reach import ELSEWHERE

__all__ = ["Moved", "moved_names", "plain_name", "recognized", "with_files"]

Moved = Sequence[tuple[str, str]]
"""Folders (or files) that were moved: what the name began with, and what it begins with now."""

_OPTIONS = "json:"


def plain_name(name: str) -> str:
    """An image's file, where a manifest of before recorded QEMU's options for it; else the name."""
    if not name.startswith(_OPTIONS):
        return name
    try:
        node = json.loads(name.removeprefix(_OPTIONS))
        while isinstance(node.get("file"), dict):
            node = node["file"]
    except (ValueError, AttributeError, RecursionError):
        return name
    file = node.get("filename")
    plain = node.get("driver") in {"file", "host_device"} and isinstance(file, str)
    return file if plain and file.startswith("/") else name


def moved_names(moved: Moved) -> Callable[[str], str]:
    """What a recorded name is today, by what a user says was moved."""

    def today(name: str) -> str:
        plain = plain_name(name)
        for old, new in moved:
            before = old.rstrip("/")
            if plain == before or plain.startswith(f"{before}/"):
                return (new.rstrip("/") or "") + plain[len(before) :]
        return plain

    return today


def with_files(manifest: Manifest, today: Callable[[str], str]) -> Manifest:
    """A manifest whose files have other names."""
    parts = tuple(part.with_files(today) for part in manifest.parts)
    left_out = tuple(
        evolve(one, file=today(one.file)) if one.file else one for one in manifest.left_out
    )
    renamed = {
        part.disk for part, was in zip(parts, manifest.parts, strict=True) if part.file != was.file
    }
    reached = tuple(
        (disk, code)
        for disk, code in manifest.needs_vm
        if not (disk in renamed and code == ELSEWHERE)
    )
    template = manifest.template and manifest.template.with_files(today)
    return evolve(manifest, parts=parts, left_out=left_out, needs_vm=reached, template=template)


def recognized(manifest: Manifest, facts: Facts) -> Manifest:
    """A manifest whose disks are called as the VM calls them now; its files are already."""
    names = _names_of_now(manifest, facts)
    if not names:
        return manifest
    disks = {disk.name: disk for disk in facts.disks}

    def of_part(part: ManifestPart) -> ManifestPart:
        if not isinstance(part, DiskPart) or part.disk not in names:
            return part
        return part.on(disks[names[part.disk]])

    return evolve(
        manifest,
        parts=tuple(sorted(map(of_part, manifest.parts))),
        devices=tuple(sorted((names.get(disk, disk), qdev) for disk, qdev in manifest.devices)),
        excluded=tuple(sorted(names.get(disk, disk) for disk in manifest.excluded)),
        left_out=tuple(
            evolve(one, disk=names.get(one.disk, one.disk)) for one in manifest.left_out
        ),
        needs_vm=tuple(sorted((names.get(disk, disk), code) for disk, code in manifest.needs_vm)),
    )


def _names_of_now(manifest: Manifest, facts: Facts) -> Mapping[str, str]:
    """The disks of a manifest that have other names now; empty where that would not be clear."""
    holders = {file: disk for disk in facts.disks for file in _files(disk)}
    disks = {disk.name: disk for disk in facts.disks}
    recorded = [(part.disk, part.qdev, part.files) for part in manifest.disk_parts]
    recorded += [(one.disk, one.qdev, (one.file,)) for one in manifest.left_out]
    before, after = device_ranks(manifest, facts)
    names: dict[str, str] = {}
    for name, qdev, files in recorded:
        found = next((holders[file] for file in files if file in holders), None)
        if not name or found is None or found.name == name:
            continue
        same_device = device_label(qdev, before) == device_label(found.qdev, after)
        if name not in disks or same_device:
            names[name] = found.name
    kept = {name for name, _, _ in recorded if name and name not in names}
    clear = len({*names.values()}) == len(names) and kept.isdisjoint(names.values())
    return names if clear else {}


def _files(disk: Disk) -> tuple[str, ...]:
    files = (disk.filename, *(layer.filename for layer in disk.backing))
    return tuple(file for file in files if file)
