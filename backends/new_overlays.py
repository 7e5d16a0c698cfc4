"""Empty qcow2 overlays, written here: a clone is to start in milliseconds, and each qemu-img takes tens.

An empty overlay is a header that names its base, one refcount block for the few clusters that there
are, and an L1 table of zeros, which says that everything is in the base (QEMU's docs/interop/qcow2).
``qemu-img check`` finds nothing in it.

Rules: never over an existing file; owner and mode are the base's, as with every overlay; what is removed
is the very file that was made.  It is written back to the disk by ``sync-clone-overlay`` only: one that
goes with its clone need not outlive a power cut.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from backends.by_descriptor import Folder, open_file
from planner.run.ports import HostRefused

__all__ = ["CLONE_OVERLAYS", "clone_overlay", "empty_overlay"]

CLONE_OVERLAYS = ("make-clone-overlay", "sync-clone-overlay", "remove-clone-overlay")

_Told = Mapping[str, object]

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_ENTRY_BYTES = 8
_PER_L1_ENTRY = _CLUSTER * (_CLUSTER // _ENTRY_BYTES)
"""What one entry of the L1 table covers: a cluster of entries of a cluster each."""
_REFCOUNT_ORDER = 4
_REFCOUNTS_IN_BLOCK = _CLUSTER * 8 >> _REFCOUNT_ORDER
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_HEADER_BYTES = 104
_BASE_FORMAT = 0xE2792ACA
_NAME_LIMIT_BYTES = 1023
_MODE_MASK = 0o666


def empty_overlay(base: str, base_format: str, size_bytes: int) -> bytes:
    """The file of an empty overlay (qcow2, compat level 1.1, clusters of 64 KiB).

    Args:
        base: What it lies on, an absolute path or what QEMU takes for a file name.
        base_format: The format of that.
        size_bytes: The size of the disk that the guest sees.

    Raises:
        ValueError: The name is too long for a header, or the disk is larger than this writes.
    """
    name, kind = os.fsencode(base), base_format.encode()
    if len(name) > _NAME_LIMIT_BYTES:
        raise ValueError(f"the name of its base has more than {_NAME_LIMIT_BYTES} bytes")
    l1_entries = max(1, -(-size_bytes // _PER_L1_ENTRY))
    l1_clusters = -(-l1_entries * _ENTRY_BYTES // _CLUSTER)
    clusters = 3 + l1_clusters  # the header, the refcounts' table and block, the L1 table
    if clusters > _REFCOUNTS_IN_BLOCK:
        raise ValueError("the disk is too large")
    extension = struct.pack(">II", _BASE_FORMAT, len(kind)) + kind.ljust(
        -(-len(kind) // 8) * 8, b"\0"
    )
    extension += struct.pack(">II", 0, 0)
    name_at = _HEADER_BYTES + len(extension)
    header = _HEADER.pack(
        *(b"QFI\xfb", 3, name_at, len(name), _CLUSTER_BITS, size_bytes, 0),
        *(l1_entries, 3 * _CLUSTER, _CLUSTER, 1, 0, 0),  # L1 table, refcount table, no snapshots
        *(
            0,
            0,
            0,
            _REFCOUNT_ORDER,
            _HEADER_BYTES,
        ),  # no incompatible, compatible, autoclear features
    )
    made = bytearray(3 * _CLUSTER)
    made[: name_at + len(name)] = header + extension + name
    made[_CLUSTER : _CLUSTER + _ENTRY_BYTES] = struct.pack(">Q", 2 * _CLUSTER)
    made[2 * _CLUSTER : 2 * _CLUSTER + 2 * clusters] = struct.pack(">H", 1) * clusters
    return bytes(made)


def clone_overlay(instruction: str, path: Path, arguments: _Told) -> _Told:
    """Do one of the instructions about a clone's overlay.

    - ``make-clone-overlay`` (path, base, base-format, size): makes it; tells its ``inode``.
    - ``sync-clone-overlay`` (path): writes it back to the disk, and its name.
    - ``remove-clone-overlay`` (path, inode): removes just that file; one that is gone is no error.
    """
    with Folder(path.parent) as folder:
        if instruction == "make-clone-overlay":
            return _make(folder, path, arguments)
        if instruction == "sync-clone-overlay":
            descriptor = folder.open(path.name)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            folder.sync()
            return {}
        found = folder.look(path.name)
        if found is None:
            return {"removed": False}
        if not stat.S_ISREG(found.st_mode) or found.st_ino != arguments.get("inode"):
            raise HostRefused("file-differs", f"{path} is no file that was made here")
        return {"removed": folder.remove(path.name)}


def _make(folder: Folder, path: Path, arguments: _Told) -> _Told:
    base, base_format, size = (arguments.get(name) for name in ("base", "base-format", "size"))
    if not isinstance(base, str) or not isinstance(base_format, str) or type(size) is not int:
        raise HostRefused("arguments-malformed", f"{path}: {base!r}, {base_format!r}, {size!r}")
    try:
        content = empty_overlay(base, base_format, size)
    except ValueError as error:
        raise HostRefused("overlay-unwritable", f"{path}: {error}") from error
    try:
        descriptor = folder.create(path.name)
    except FileExistsError as error:
        raise HostRefused("file-exists", f"{path} exists, and is not overwritten") from error
    try:
        _like_base(descriptor, base)
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        l1_bytes = -(-max(1, -(-size // _PER_L1_ENTRY)) * _ENTRY_BYTES // _CLUSTER) * _CLUSTER
        os.ftruncate(descriptor, len(content) + l1_bytes)
        return {"inode": os.fstat(descriptor).st_ino}
    except BaseException:
        folder.remove(path.name)
        raise
    finally:
        os.close(descriptor)


def _like_base(descriptor: int, base: str) -> None:
    """Whoever may open the base may open the overlay."""
    if not base.startswith("/"):
        return
    opened = open_file(Path(base))
    try:
        owner = os.fstat(opened)
    finally:
        os.close(opened)
    os.fchown(descriptor, owner.st_uid, owner.st_gid)
    if stat.S_ISREG(owner.st_mode):
        os.fchmod(
            descriptor, stat.S_IMODE(owner.st_mode) & _MODE_MASK | stat.S_IRUSR | stat.S_IWUSR
        )
