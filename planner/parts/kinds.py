"""The kinds of part: each is a class in a file of its own, and this is the list of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from planner.parts.internal import InternalSnapshot
from planner.parts.overlay import FrozenImage
from planner.parts.part import ManifestPart
from planner.parts.stream import StateStream

__all__ = ["KINDS"]

KINDS: Mapping[str, type[ManifestPart]] = MappingProxyType(
    {kind.kind: kind for kind in (InternalSnapshot, FrozenImage, StateStream)}
)
"""By the word that manifests have for it."""
