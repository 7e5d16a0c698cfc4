"""libvirt's save format: what stands before QEMU's stream in a file that `virsh restore` takes.

    16 bytes    magic: whole, or not whole yet
     4 each     version, bytes of data, whether the guest ran, compression, where the cookie begins
    14 times 4  unused
    data        the domain's XML and the cookie, each ended by a zero byte; then zeros
    the stream

Numbers are this machine's own, as libvirt writes them.  Rules: the stream begins at one place in each
file (`STREAM_BEGINS_BYTES`), so that a program can say where; the rest of the space is room to edit the
XML in (`virsh save-image-edit`).  A header is not whole before the stream is (fact 138): libvirt refuses
such a file.  What a disk's frozen image is gets the name of an overlay that has yet to be made: a plain
`virsh restore` would else write into the frozen image.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

__all__ = [
    "DESCRIPTOR_OF_A_SAVE",
    "MAGIC",
    "STREAM_BEGINS_BYTES",
    "NotASave",
    "begun",
    "completed",
    "is_whole",
    "xml_of",
]

MAGIC = b"LibvirtQemudSave"
STREAM_BEGINS_BYTES = 2**20
DESCRIPTOR_OF_A_SAVE = "snapplan-libvirt-save"
"""A file that is passed to QEMU under this name gets libvirt's header first (`backends.domain`)."""

_PARTIAL = b"LibvirtQemudPart"
_HEAD = struct.Struct("=16s5I56x")
_VERSION = 2
_DATA_BYTES = STREAM_BEGINS_BYTES - _HEAD.size


class NotASave(ValueError):
    """A header that cannot be made, or is none."""


def begun(xml: str, cookie: str, *, running: bool) -> bytes:
    """The header of a file whose stream is still to come.

    Args:
        xml: The domain, as libvirt describes it for a migration, secrets included.
        cookie: What libvirt wants to know besides (the processor as the guest sees it), or empty.
        running: Whether the guest runs once it is restored.

    Raises:
        NotASave: The domain's description is too long.
    """
    return _packed(_PARTIAL, xml, cookie, running=running)


def completed(header: bytes, overlays: Mapping[str, str], one_file: _OneFile) -> bytes:
    """The header of a file whose stream is whole.

    Args:
        header: The first `STREAM_BEGINS_BYTES` of the file.
        overlays: For each image that was frozen, the overlay on it that a restore opens.
        one_file: Whether two paths mean one file.

    Raises:
        NotASave: It is none, or the domain does not have one of the images.
    """
    _, running, xml, cookie = _unpacked(header)
    return _packed(MAGIC, _on_overlays(xml, overlays, one_file), cookie, running=running)


def is_whole(header: bytes) -> bool:
    """Whether a file begins with libvirt's header, its stream whole, where this module puts it."""
    try:
        magic, *_ = _unpacked(header)
    except NotASave:
        return False
    return magic == MAGIC


def xml_of(header: bytes) -> str:
    """The domain that a header describes.

    Raises:
        NotASave: It is none.
    """
    return _unpacked(header)[2]


_OneFile = Callable[[str, str], bool]


def _packed(magic: bytes, xml: str, cookie: str, *, running: bool) -> bytes:
    described = xml.encode() + b"\0"
    begins = len(described) if cookie else 0
    data = described + (cookie.encode() + b"\0" if cookie else b"")
    if len(data) > _DATA_BYTES:
        raise NotASave(f"the domain's description has {len(data)} bytes, {_DATA_BYTES} at most")
    head = _HEAD.pack(magic, _VERSION, _DATA_BYTES, int(running), 0, begins)
    return head + data.ljust(_DATA_BYTES, b"\0")


def _unpacked(header: bytes) -> tuple[bytes, bool, str, str]:
    if len(header) < STREAM_BEGINS_BYTES:
        raise NotASave("it is shorter than a header")
    magic, version, length, running, compression, begins = _HEAD.unpack_from(header)
    if magic not in (MAGIC, _PARTIAL):
        raise NotASave("it does not begin as libvirt's save files do")
    if (version, length, compression) != (_VERSION, _DATA_BYTES, 0):
        raise NotASave("its header is another one than snapplan makes")
    data = header[_HEAD.size : STREAM_BEGINS_BYTES]
    xml, cookie = data[: begins or None], data[begins:] if begins else b""
    try:
        return magic, bool(running), _text(xml), _text(cookie)
    except UnicodeDecodeError as error:
        raise NotASave("its header is no text") from error


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode()


def _on_overlays(xml: str, overlays: Mapping[str, str], one_file: _OneFile) -> str:
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - seldom needed

    try:
        for _, (prefix, uri) in ET.iterparse(io.StringIO(xml), ("start-ns",)):  # noqa: S314 - libvirt's
            ET.register_namespace(prefix, uri)
        domain = ET.fromstring(xml)  # noqa: S314 - the same
    except (ET.ParseError, ValueError) as error:
        raise NotASave(f"the domain's description cannot be read: {error}") from error
    left = dict(overlays)
    for disk in domain.iterfind("./devices/disk"):
        for below in [*disk.iterfind("backingStore"), *disk.iterfind("mirror")]:
            disk.remove(below)  # libvirt looks at the images anew
        source = disk.find("source")
        if source is None:
            continue
        file = source.get("file") or source.get("dev") or ""
        base = next((base for base in left if base == file or one_file(base, file)), "")
        if base:
            _put_on(disk, source, left.pop(base))
    if left:
        raise NotASave(f"the domain has no disk on {', '.join(sorted(left))}")
    return ET.tostring(domain, encoding="unicode")


def _put_on(disk: ET.Element, source: ET.Element, overlay: str) -> None:
    disk.set("type", "file")
    source.clear()
    source.set("file", overlay)
    driver = disk.find("driver")
    if driver is None:
        driver = disk.makeelement("driver", {"name": "qemu"})
        disk.insert(0, driver)
    driver.set("type", "qcow2")
