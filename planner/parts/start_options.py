"""How a person starts QEMU on an image, as an option of its command line."""

from __future__ import annotations

import shlex

__all__ = ["start_option"]


def start_option(node: str, filename: str, image_format: str) -> str:
    """The option of QEMU's that puts a disk on an image, written as the disk's own was.

    Args:
        node: The disk's node in a snapshot, or a reference (``@disk``); empty: not known.
        filename: The image.
        image_format: Its format.
    """
    file = filename.replace(",", ",,")  # as QEMU's option parser wants it
    if not node or node.startswith("@"):  # QEMU named the node: it came from -drive
        return shlex.join(["-drive", f"file={file},format={image_format},..."])
    option = f"driver={image_format},node-name={node},file.driver=file,file.filename={file}"
    return shlex.join(["-blockdev", option])
