"""The kinds of part: this is the list of them, and nothing else names them all.

Of each kind two classes answer: one for parts that are recorded, one for parts that are to be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from planner.model.facts import Disk, Facts
from planner.model.request import Copy, External, Internal, Wish
from planner.parts.copied import CopiedDisk
from planner.parts.internal import InternalSnapshot
from planner.parts.make_copy import MakeCopy
from planner.parts.make_internal import MakeInternal
from planner.parts.make_overlay import MakeOverlay
from planner.parts.make_stream import MakeStream
from planner.parts.make_vmstate_image import MakeVmstateImage
from planner.parts.making import Making
from planner.parts.overlay import FrozenImage
from planner.parts.part import ManifestPart
from planner.parts.stream import StateStream
from planner.parts.vmstate_image import VmstateImage

__all__ = ["KINDS", "MAKERS", "making_of", "planned_disks"]

_INTERNAL, _OVERLAY, _COPY = MakeInternal(), MakeOverlay(), MakeCopy()

KINDS: Mapping[str, type[ManifestPart]] = MappingProxyType(
    {
        kind.kind: kind
        for kind in (InternalSnapshot, FrozenImage, CopiedDisk, StateStream, VmstateImage)
    }
)
"""By the word that manifests have for it."""

MAKERS: tuple[Making, ...] = (_INTERNAL, _OVERLAY, _COPY, MakeStream(), MakeVmstateImage())
"""In the order in which one transaction captures disks."""

_OF_WISH: Mapping[type[Wish], Making] = {
    Internal: _INTERNAL,
    External: _OVERLAY,
    Copy: _COPY,
}


def making_of(wish: Wish) -> Making | None:
    """How a disk's part is made that is wished for; None: the disk gets none."""
    return _OF_WISH.get(type(wish))


def planned_disks(
    tag: str, wishes: Mapping[str, Wish], disks: Mapping[str, Disk], facts: Facts
) -> dict[str, Any]:
    """The disks' parts with every choice made, as a resolution has them: a list a kind, by its name.

    Args:
        tag: The snapshot's.
        wishes: By disk, what it is to be.
        disks: The VM's, by name.
        facts: The VM.
    """
    planned = {}
    for wish, making in _OF_WISH.items():
        named = [name for name in sorted(wishes) if type(wishes[name]) is wish]
        planned[making.field] = tuple(
            making.planned(tag, disks[n], wishes[n], facts) for n in named
        )
    return planned
