"""Manifests to and from their file (JSON), checked strictly on the way in.

A part is written with its kind first.  The names in `_EVERY_PART` stand in every part, whatever its
kind, as they have from the first: where a kind has no such attribute, as empty or 0, and nothing else
is taken there.  What only some kinds have, and came later, is written where it says something.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache

from attrs import fields
from cattrs import Converter

from planner.model.ancestor import Ancestor
from planner.model.facts import QemuVersion
from planner.model.file_format import FileFormat
from planner.model.file_record import FileRecord
from planner.model.group_run import GroupRun
from planner.model.hardware_text import register_hardware
from planner.model.image_place import ImagePlace
from planner.model.peripherals import Device
from planner.model.strict import Malformed, strict_converter, write_with_hyphens
from planner.parts.disk_part import BackingImage
from planner.parts.kinds import KINDS
from planner.parts.manifest import MANIFEST_FORMAT_VERSION, LeftOut, Manifest
from planner.parts.part import ManifestPart
from planner.parts.template import Template, TemplateDisk, TemplateFile, TemplateMemory

__all__ = ["manifest_to_plain", "read_manifest"]

_EVERY_PART: Mapping[str, object] = {
    "disk": "",
    "qdev": "",
    "node": "",
    "root": "",
    "file": "",
    "format": "",
    "snapshot-id": "",
    "vm-clock-ns": 0,
    "vm-state-size-bytes": 0,
    "overlay": "",
    "overlay-file": "",
    "virtual-size-bytes": 0,
}
"""What stands in every part, with what says nothing."""


@cache  # most commands need few of these, and each takes its time to make
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (Ancestor, GroupRun, QemuVersion, FileRecord, ImagePlace, Device):
        write_with_hyphens(converter, kind)
    write_with_hyphens(converter, BackingImage, seldom=("record", "key_secret"))
    for part in KINDS.values():
        names = {attribute.name for attribute in fields(part)}
        seldom = sorted(names - {name.replace("-", "_") for name in _EVERY_PART})
        write_with_hyphens(converter, part, seldom=tuple(seldom))
    converter.register_unstructure_hook_func(
        lambda wanted: wanted is ManifestPart, lambda part: _part_to_plain(converter, part)
    )
    converter.register_structure_hook_func(
        lambda wanted: wanted is ManifestPart, lambda value, _: _part(converter, value)
    )
    register_hardware(converter)
    write_with_hyphens(converter, LeftOut, seldom=("record",))
    for each in (TemplateFile, TemplateMemory, TemplateDisk, Template):
        write_with_hyphens(converter, each)
    rarely = (
        *("served", "hardware", "added", "left_out", "needs_vm", "unproved"),
        *("description", "ancestors", "group", "template", "request_digest"),
    )
    write_with_hyphens(converter, Manifest, seldom=rarely)
    return converter


def _part_to_plain(converter: Converter, part: ManifestPart) -> dict[str, object]:
    own: dict[str, object] = converter.unstructure(part, type(part))
    return {"kind": part.kind, **_EVERY_PART, **own}


def _part(converter: Converter, value: object) -> ManifestPart:
    if not isinstance(value, dict):
        raise Malformed(f"{str(value)[:60]!r} is no part")
    kind = value.get("kind")
    found = KINDS.get(kind) if isinstance(kind, str) else None
    if found is None:
        raise Malformed(f"{str(kind)[:60]!r} is no kind of part")
    own = {attribute.name.replace("_", "-") for attribute in fields(found)}
    rest = {name: what for name, what in value.items() if name != "kind"}
    for name in [name for name in rest if name in _EVERY_PART and name not in own]:
        empty = _EVERY_PART[name]
        what = rest.pop(name)
        if type(what) is not type(empty) or what != empty:
            raise Malformed(f"a part of kind {kind!r} has no {name}")
    return converter.structure(rest, found)


_FILES = FileFormat(
    *("snapplan-manifest", MANIFEST_FORMAT_VERSION, Manifest, _converter),
    *("manifest-malformed", "is no manifest", "it is written by `snapplan apply` only"),
)


def manifest_to_plain(manifest: Manifest) -> dict[str, object]:
    """Write a manifest as plain values."""
    return _FILES.to_plain(manifest)


@lru_cache(maxsize=64)
def read_manifest(text: str, source: str = "manifest") -> Manifest:
    """Read a manifest file's text; what was read a moment ago is not read again.

    Args:
        text: JSON.
        source: The file's name, for messages.

    Raises:
        BadInput: It is no manifest, or of another format version, or malformed.
    """
    return _FILES.read(text, source)
