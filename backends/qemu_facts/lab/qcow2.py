"""New qcow2 images, written here: an experiment then needs no qemu-img.

Version 3, clusters of 64 KiB, reference counts of 16 bits (QEMU's `docs/interop/qcow2.rst`).  The file
is, by clusters: the header, the table of reference counts, their block, L1, L2, data.
"""

from __future__ import annotations

import struct

__all__ = ["CLUSTER_BYTES", "qcow2_image"]

CLUSTER_BYTES = 65536
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_COPIED = 1 << 63
_DATA_FILE_BIT = 1 << 2
_BACKING_FORMAT, _DATA_FILE_NAME = 0xE2792ACA, 0x44415441
_TABLE, _BLOCK, _L1, _L2, _DATA = 1, 2, 3, 4, 5


def qcow2_image(
    size_bytes: int, content: bytes = b"", *, backing: str = "", data_file: str = ""
) -> bytes:
    """The bytes of a new image of this size, whose first bytes are the content.

    Args:
        size_bytes: what the guest sees.
        content: at its beginning; nothing where there is a data file.
        backing: the path of a qcow2 image under it.
        data_file: the path of the raw file that holds its data.
    """
    data = [content[at : at + CLUSTER_BYTES] for at in range(0, len(content), CLUSTER_BYTES)]
    clusters = [
        _header(size_bytes, backing, data_file),
        struct.pack(">Q", _BLOCK * CLUSTER_BYTES),
        struct.pack(">H", 1) * (_DATA + len(data) if data else _L2),
        struct.pack(">Q", _COPIED | _L2 * CLUSTER_BYTES) if data else b"",
    ]
    if data:
        places = (_COPIED | (_DATA + number) * CLUSTER_BYTES for number in range(len(data)))
        clusters += [b"".join(struct.pack(">Q", place) for place in places), *data]
    return b"".join(cluster.ljust(CLUSTER_BYTES, b"\0") for cluster in clusters)


def _header(size_bytes: int, backing: str, data_file: str) -> bytes:
    extensions = b""
    if backing:
        extensions += _extension(_BACKING_FORMAT, b"qcow2")
    if data_file:
        extensions += _extension(_DATA_FILE_NAME, data_file.encode())
    extensions += bytes(8)
    name = backing.encode()
    per_l2 = CLUSTER_BYTES // 8 * CLUSTER_BYTES
    header = _HEADER.pack(
        *(b"QFI\xfb", 3, _HEADER.size + len(extensions) if name else 0, len(name), 16, size_bytes),
        *(0, -(-size_bytes // per_l2), _L1 * CLUSTER_BYTES, _TABLE * CLUSTER_BYTES, 1, 0, 0),
        *(_DATA_FILE_BIT if data_file else 0, 0, 0, 4, _HEADER.size),
    )
    return header + extensions + name


def _extension(kind: int, content: bytes) -> bytes:
    return struct.pack(">II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")
