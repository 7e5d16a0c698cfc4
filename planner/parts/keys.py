"""Which key opens which image of a snapshot, by what its manifest says and its user has named."""

from __future__ import annotations

from collections.abc import Iterator

from planner.model.image_key import Key, Secrets
from planner.parts.manifest import Manifest
from planner.parts.reach import ENCRYPTED

__all__ = ["encrypted_images", "keys_of"]


def keys_of(manifest: Manifest, secrets: Secrets) -> dict[str, Key]:
    """The keys that were named of a snapshot's images, by file."""
    found = {file: secrets.key(wanted) for file, wanted in encrypted_images(manifest)}
    return {file: key for file, key in found.items() if key is not None}


def encrypted_images(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """The encrypted images of a snapshot, each with the id of its secret (empty: not recorded)."""
    told = {disk for disk, code in manifest.needs_vm if code == ENCRYPTED}
    for part in manifest.disk_parts:
        if part.key_secret or part.disk in told:
            yield part.file, part.key_secret
        for image in part.backing or ():
            if image.key_secret:
                yield image.file, image.key_secret
