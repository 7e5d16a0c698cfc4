"""Facts to and from their file (JSON), checked strictly on the way in."""

from __future__ import annotations

from functools import cache

from cattrs import Converter

from planner.model.facts import (
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
from planner.model.file_format import FileFormat
from planner.model.file_record import FileRecord
from planner.model.hardware_text import register_hardware
from planner.model.image_place import ImagePlace
from planner.model.node_names import AUTOMATIC_NODE_PREFIX
from planner.model.peripherals import Device, HostObject, Tpm
from planner.model.strict import strict_converter, write_with_hyphens

__all__ = ["facts_from_plain", "facts_to_plain", "read_facts"]


@cache  # most commands need few of these, and each takes its time to make
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (
        QemuVersion,
        SnapshotInfo,
        Bitmap,
        JobInfo,
        ImagePlace,
        Tpm,
        HostObject,
        Drive,
        FileRecord,
    ):
        write_with_hyphens(converter, kind)
    write_with_hyphens(converter, Device, seldom=("peer",))
    write_with_hyphens(converter, ChainNode, seldom=("key_secret",))
    rarely = (
        *("drives_below", "place", "header_names", "lost_name", "key_secret", "io_error"),
        *("chain", "target"),
    )
    write_with_hyphens(converter, Disk, seldom=rarely)
    register_hardware(converter)
    write_with_hyphens(
        converter,
        Facts,
        skip=("live_nodes",),
        seldom=("hardware", "drives", "files", "migration_error", "taken_tags"),
    )
    return converter


_FILES = FileFormat(
    *("snapplan-facts", FACTS_FORMAT_VERSION, Facts, _converter),
    *("facts-malformed", "is no facts file", "make it anew with `snapplan inspect`"),
)


def facts_to_plain(facts: Facts) -> dict[str, object]:
    """Write facts as plain values; automatic node names and the live ones are left out."""
    return _FILES.to_plain(facts)


def read_facts(text: str, source: str = "facts") -> Facts:
    """Read a facts file's text.

    Args:
        text: JSON.
        source: The file's name, for messages.

    Raises:
        BadInput: It is no facts file, or of another format version, or malformed.
    """
    return _checked(_FILES.read(text, source), source)


def facts_from_plain(value: object, source: str = "facts") -> Facts:
    """Check plain values into facts; see `read_facts`."""
    return _checked(_FILES.from_plain(value, source), source)


def _checked(facts: Facts, source: str) -> Facts:
    names: set[str] = set()
    for disk in facts.disks:
        if not disk.name or disk.name in names:
            raise _FILES.malformed(source, f"disk name {disk.name!r} is empty or stands twice")
        names.add(disk.name)
        layers = [disk.node, disk.root, *(layer.node for layer in (*disk.filters, *disk.backing))]
        if any(node.startswith(AUTOMATIC_NODE_PREFIX) for node in layers):
            raise _FILES.malformed(source, f"disk {disk.name!r} has an automatic node name")
        if not 1 <= disk.refcount_bits <= REFCOUNT_BITS_LIMIT:
            raise _FILES.malformed(
                source, f"disk {disk.name!r} has {disk.refcount_bits} refcount bits"
            )
        if not disk.node or not disk.root:
            raise _FILES.malformed(source, f"disk {disk.name!r} has no node or no root")
    return facts
