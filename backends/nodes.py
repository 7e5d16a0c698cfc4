"""Images as QEMU and qemu-img are to open them: every format said, down the whole chain.

What is not said is probed: an image's first bytes then choose its format, and the header that they make
names further files, of the host or of the network, that are opened too.  A guest writes these bytes of
a raw disk.  So an image is never named by its path alone: here it becomes a description of a block node
(``json:`` in the place of a file name), with each format, and with what lies under it as recorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from planner.model.image_key import NO_KEYS, Key, Keys

__all__ = [
    "Backing",
    "alone",
    "chain_told",
    "encrypted_node",
    "image_node",
    "json_name",
    "secret_options",
]

Backing = Sequence[tuple[str, str]]
"""The images under one, from the top down: file and format of each."""


def image_node(
    filename: str, image_format: str, backing: Backing | None, keys: Keys = NO_KEYS
) -> dict[str, object]:
    """An image as `-blockdev` takes it.

    Args:
        filename: Its file; a name in QEMU's own words (``nbd://…``) where it is none.
        image_format: Its block driver.
        backing: What lies under it; empty: nothing, whatever its header says; None: nobody wrote it
            down, so the header of an image that is no raw one is followed, as when QEMU starts.
        keys: What opens those that are encrypted, by file; QEMU needs `secret_options` of them, too.
    """
    node: dict[str, object] = {"driver": image_format, "file": _file(filename)}
    node = encrypted_node(node, keys.get(filename))
    if image_format == "raw" or backing is None:
        return node
    if not backing:
        return {**node, "backing": None}
    (under, under_format), *rest = backing
    return {**node, "backing": image_node(under, under_format, rest, keys)}


def encrypted_node(node: dict[str, object], key: Key | None) -> dict[str, object]:
    """A qcow2 image's node with what opens it; None: nothing has to."""
    if key is None:
        return node
    return {**node, "encrypt": {"format": "luks", "key-secret": key.id}}


def secret_options(option: str, keys: Iterable[Key]) -> list[str]:
    """The options that have QEMU or qemu-img read secrets from their files.

    Args:
        option: ``-object``, or qemu-img's ``--object``.
        keys: Which; one that is there twice is given once.
    """
    words = []
    for key in sorted({(key.id, key.file) for key in keys}):
        told = {"qom-type": "secret", "id": key[0], "file": key[1]}
        words += [option, json.dumps(told)]
    return words


def _file(filename: str) -> dict[str, object]:
    if filename.startswith("/"):
        driver = "host_device" if Path(filename).is_block_device() else "file"
        return {"driver": driver, "filename": filename}
    if filename.startswith("json:"):
        described: dict[str, object] = json.loads(filename.removeprefix("json:"))
        file = described.get("file")
        return file if isinstance(file, dict) else described
    return {"filename": filename}


def json_name(
    filename: str, image_format: str, backing: Backing | None, keys: Keys = NO_KEYS
) -> str:
    """The same in the place of a file name, for qemu-img."""
    return "json:" + json.dumps(image_node(filename, image_format, backing, keys))


def alone(filename: str, image_format: str = "qcow2", key: Key | None = None) -> str:
    """An image without what lies under it: for what touches its own tables and its own data only."""
    return json_name(filename, image_format, (), {} if key is None else {filename: key})


def chain_told(pairs: object) -> Backing | None:
    """The images under one from an instruction's argument, a list of pairs; None: it is not told."""
    if not isinstance(pairs, list | tuple):
        return None
    return [(str(file), str(image_format)) for file, image_format in pairs]
