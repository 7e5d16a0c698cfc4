"""Facts to and from their file (JSON), checked strictly on the way in."""

from __future__ import annotations

from functools import cache

import cattrs
from cattrs import Converter
from cattrs.errors import ClassValidationError

from planner.errors import BadInput, Problem
from planner.model.facts import (
    AUTOMATIC_NODE_PREFIX,
    FACTS_FORMAT_VERSION,
    REFCOUNT_BITS_LIMIT,
    Bitmap,
    ChainNode,
    Disk,
    Drive,
    Facts,
    JobInfo,
    QemuVersion,
    SnapshotInfo,
)
from planner.model.file_record import FileRecord
from planner.model.hardware_text import register_hardware
from planner.model.image_place import ImagePlace
from planner.model.peripherals import Device, HostObject, Tpm
from planner.model.strict import strict_converter, write_with_hyphens
from planner.model.text import read_json

__all__ = ["facts_from_plain", "facts_to_plain", "read_facts"]

FORMAT = "snapplan-facts"


@cache  # most commands need few of these, and each takes its time to make
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (
        QemuVersion,
        SnapshotInfo,
        Bitmap,
        ChainNode,
        JobInfo,
        ImagePlace,
        Device,
        Tpm,
        HostObject,
        Drive,
        FileRecord,
    ):
        write_with_hyphens(converter, kind)
    write_with_hyphens(converter, Disk, seldom=("drives_below", "place"))
    register_hardware(converter)
    write_with_hyphens(
        converter,
        Facts,
        skip=("live_nodes",),
        seldom=("hardware", "drives", "files", "migration_error"),
    )
    return converter


def facts_to_plain(facts: Facts) -> dict[str, object]:
    """Write facts as plain values; automatic node names and the live ones are left out."""
    body: dict[str, object] = _converter().unstructure(facts)
    return {"format": FORMAT, "format-version": FACTS_FORMAT_VERSION, **body}


def read_facts(text: str, source: str = "facts") -> Facts:
    """Read a facts file's text.

    Args:
        text: JSON.
        source: The file's name, for messages.

    Raises:
        BadInput: It is no facts file, or of another format version, or malformed.
    """
    document = read_json(text, source)
    if document.problems:
        raise BadInput(f"{source} is malformed", problems=document.problems, code="facts-malformed")
    return facts_from_plain(document.value, source)


def facts_from_plain(value: object, source: str = "facts") -> Facts:
    """Check plain values into facts; see `read_facts`."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise _malformed(source, f"it does not say `format: {FORMAT}`")
    if value.get("format-version") != FACTS_FORMAT_VERSION:
        raise _malformed(source, f"its format-version is not {FACTS_FORMAT_VERSION}")
    body = {k: v for k, v in value.items() if k not in ("format", "format-version")}
    try:
        facts = _converter().structure(body, Facts)
    except (ClassValidationError, RecursionError) as error:
        raise _malformed(source, _first_words(error)) from error
    _check(facts, source)
    return facts


def _check(facts: Facts, source: str) -> None:
    names: set[str] = set()
    for disk in facts.disks:
        if not disk.name or disk.name in names:
            raise _malformed(source, f"disk name {disk.name!r} is empty or stands twice")
        names.add(disk.name)
        layers = [disk.node, disk.root, *(layer.node for layer in (*disk.filters, *disk.backing))]
        if any(node.startswith(AUTOMATIC_NODE_PREFIX) for node in layers):
            raise _malformed(source, f"disk {disk.name!r} has an automatic node name")
        if not 1 <= disk.refcount_bits <= REFCOUNT_BITS_LIMIT:
            raise _malformed(source, f"disk {disk.name!r} has {disk.refcount_bits} refcount bits")
        if not disk.node or not disk.root:
            raise _malformed(source, f"disk {disk.name!r} has no node or no root")


def _malformed(source: str, why: str) -> BadInput:
    problem = Problem("facts-malformed", source, why, "make it anew with `snapplan inspect`")
    return BadInput(f"{source} is no facts file: {why}", problems=(problem,), code=problem.code)


def _first_words(error: Exception) -> str:
    if isinstance(error, ClassValidationError):
        return "; ".join(cattrs.transform_error(error)[:3])
    return str(error) or type(error).__name__
