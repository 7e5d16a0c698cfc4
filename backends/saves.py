"""The header of libvirt's save format in a file whose stream is whole (`planner.model.libvirt_save`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from backends.by_descriptor import name_of
from planner.model.libvirt_save import STREAM_BEGINS_BYTES, NotASave, completed
from planner.run.ports import HostRefused

__all__ = ["complete_save", "mean_one_file"]


def complete_save(descriptor: int, overlays: Mapping[object, object]) -> None:
    """Complete the header of an open file, so that libvirt takes it.

    Args:
        descriptor: The file, open for reading.
        overlays: For each image that was frozen, the overlay on it that a restore opens.

    Raises:
        HostRefused: It has none, or of another domain (``save-header-wrong``).
        OSError: It cannot be written.
    """
    wanted = {str(base): str(overlay) for base, overlay in overlays.items()}
    try:
        header = os.pread(descriptor, STREAM_BEGINS_BYTES, 0)
        whole = completed(header, wanted, mean_one_file)
    except NotASave as error:
        raise HostRefused("save-header-wrong", f"libvirt's header: {error}") from error
    writing = os.open(name_of(descriptor), os.O_WRONLY | os.O_CLOEXEC)
    try:
        if os.pwrite(writing, whole, 0) != len(whole):
            raise OSError("the header was not written to its end")
    finally:
        os.close(writing)


def mean_one_file(one: object, other: str) -> bool:
    """Whether two paths lead to one file: a header keeps the name of the day on which it was written."""
    if not (isinstance(one, str) and one.startswith("/") and other.startswith("/")):
        return False
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
