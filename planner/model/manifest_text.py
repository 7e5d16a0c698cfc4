"""Manifests to and from their file (JSON), checked strictly on the way in."""

from __future__ import annotations

from functools import cache

import cattrs
from cattrs import Converter
from cattrs.errors import ClassValidationError

from planner.errors import BadInput, Problem
from planner.model.facts import QemuVersion
from planner.model.hardware_text import register_hardware
from planner.model.manifest import (
    MANIFEST_FORMAT_VERSION,
    BackingImage,
    FileRecord,
    LeftOut,
    Manifest,
    ManifestPart,
)
from planner.model.peripherals import Device
from planner.model.strict import strict_converter, write_with_hyphens
from planner.model.text import read_json

__all__ = ["FORMAT", "manifest_to_plain", "read_manifest"]

FORMAT = "snapplan-manifest"


@cache  # most commands need few of these, and each takes its time to make
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (QemuVersion, FileRecord, Device):
        write_with_hyphens(converter, kind)
    write_with_hyphens(converter, BackingImage, seldom=("record",))
    write_with_hyphens(converter, ManifestPart, seldom=("record", "backing"))
    register_hardware(converter)
    write_with_hyphens(converter, LeftOut, seldom=("record",))
    write_with_hyphens(converter, Manifest, seldom=("hardware", "added", "left_out"))
    return converter


def manifest_to_plain(manifest: Manifest) -> dict[str, object]:
    """Write a manifest as plain values."""
    body: dict[str, object] = _converter().unstructure(manifest)
    return {"format": FORMAT, "format-version": MANIFEST_FORMAT_VERSION, **body}


def read_manifest(text: str, source: str = "manifest") -> Manifest:
    """Read a manifest file's text.

    Args:
        text: JSON.
        source: The file's name, for messages.

    Raises:
        BadInput: It is no manifest, or of another format version, or malformed.
    """
    document = read_json(text, source)
    if document.problems:
        raise BadInput(
            f"{source} is malformed", problems=document.problems, code="manifest-malformed"
        )
    value = document.value
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise _malformed(source, f"it does not say `format: {FORMAT}`")
    if value.get("format-version") != MANIFEST_FORMAT_VERSION:
        raise _malformed(source, f"its format-version is not {MANIFEST_FORMAT_VERSION}")
    body = {k: v for k, v in value.items() if k not in ("format", "format-version")}
    try:
        found: Manifest = _converter().structure(body, Manifest)
        return found
    except (ClassValidationError, RecursionError) as error:
        words = (
            "; ".join(cattrs.transform_error(error)[:3])
            if isinstance(error, ClassValidationError)
            else "it nests too deeply"
        )
        raise _malformed(source, words) from error


def _malformed(source: str, why: str) -> BadInput:
    problem = Problem("manifest-malformed", source, why, "it is written by `snapplan apply` only")
    return BadInput(f"{source} is no manifest: {why}", problems=(problem,), code=problem.code)
