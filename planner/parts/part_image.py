"""The images of a VM's disks, by disk and file: what the checks of a snapshot's parts look into."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve

from planner.model.facts import Disk, Facts
from planner.model.image import Image

__all__ = ["ImagesByDisk", "image_of_disk", "images_of_vm"]

ImagesByDisk = Mapping[str, Mapping[str, Image]]
"""By disk, its images by file."""


def image_of_disk(disk: Disk) -> Image:
    """The image that a disk's guest writes to."""
    return Image(
        disk.filename,
        disk.driver,
        disk.virtual_size_bytes,
        disk.snapshots,
        tuple(layer.filename for layer in disk.backing),
        bitmaps=tuple(bitmap.name for bitmap in disk.bitmaps),
        node=disk.node,
    )


def images_of_vm(facts: Facts, below: Mapping[str, Image]) -> dict[str, dict[str, Image]]:
    """By disk, its images by file: the one that is written to, and those under it.

    Args:
        facts: The VM.
        below: Every image that QEMU has open, by file: facts do not say what a backing image holds.
    """
    found: dict[str, dict[str, Image]] = {}
    for disk in facts.disks:
        top = image_of_disk(disk)
        images = {top.file: top}
        for number, layer in enumerate(disk.backing, start=1):
            under = below.get(layer.filename, Image(layer.filename, layer.driver))
            images.setdefault(under.file, evolve(under, backing=top.backing[number:], active=False))
        found[disk.name] = images
    return found
