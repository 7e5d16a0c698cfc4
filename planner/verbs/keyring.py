"""How encrypted images are opened where no VM runs: with the secrets that a user named."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from attrs import frozen

from planner.model.image_key import NO_KEYS, NO_SECRETS, Key, Keys, Secrets
from planner.parts.keys import keys_of
from planner.parts.manifest import Manifest
from planner.run.journal import Header
from planner.run.ports import Images

if TYPE_CHECKING:
    from planner.run.ports import Host
    from planner.verbs.context import ImageFiles

_Found = TypeVar("_Found", bound=Images)

__all__ = ["NO_KEYRING", "KeyRing", "keys_of_run"]


@frozen
class KeyRing:
    """Secrets, and what works on images with them.

    Attributes:
        secrets: What was named.
        images: Makes the images that are opened with keys; None: there are no secrets.
        host: Makes the machine that copies them; None: likewise.
    """

    secrets: Secrets = NO_SECRETS
    images: Callable[[Keys], ImageFiles] | None = None
    host: Callable[[Keys], Host] | None = None

    def keys(self, manifest: Manifest) -> Keys:
        """The keys of a snapshot's images, by file."""
        return keys_of(manifest, self.secrets) if self.secrets.files else NO_KEYS

    def for_run(self, header: Header, images: _Found) -> _Found | ImageFiles:
        """The images of an unfinished run, with their keys where these were named."""
        keys = keys_of_run(header, self.secrets)
        return images if not keys or self.images is None else self.images(keys)


NO_KEYRING = KeyRing()


def keys_of_run(header: Header, secrets: Secrets) -> dict[str, Key]:
    """The keys of the images of an unfinished run, by file, as its VM was when it began."""
    told = header.facts.get("disks")
    found: dict[str, Key] = {}
    for disk in told if isinstance(told, list) else ():
        if not isinstance(disk, Mapping) or not disk.get("encrypted"):
            continue
        key = secrets.key(str(disk.get("key-secret", "")))
        if key is not None:
            found[str(disk.get("filename"))] = key
    return found
