"""The keys of encrypted images, as a tool names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backends.copies import RestoringHost
from backends.images import QemuImages
from planner.host.secret_files import secret_files
from planner.verbs.keyring import NO_KEYRING, KeyRing

__all__ = ["SecretFiles", "keyring"]

SecretFiles = Mapping[str, str | Path]
"""Files that hold secrets, by the id that the VM's QEMU has for each; their mode should be 0600."""


def keyring(secrets: SecretFiles | None) -> KeyRing:
    """What opens encrypted images; None: nothing does.

    Raises:
        BadInput: A file cannot be used (``secret-unusable``).
    """
    if not secrets:
        return NO_KEYRING
    return KeyRing(
        secret_files(secrets),
        lambda keys: QemuImages(keys=keys),
        lambda keys: RestoringHost(keys=keys),
    )
