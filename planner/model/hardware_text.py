"""How a machine is written into files: facts, manifests, journals."""

from __future__ import annotations

from attrs import fields
from cattrs import Converter

from planner.model.hardware import Hardware, PciFunction
from planner.model.strict import write_with_hyphens

__all__ = ["register_hardware"]


def register_hardware(converter: Converter) -> None:
    """Let a converter write and read a machine; what is not known is left out."""
    for kind in (PciFunction, Hardware):
        names = tuple(attribute.name for attribute in fields(kind))
        write_with_hyphens(converter, kind, seldom=names)
