"""Keys of encrypted images: which secret of QEMU's opens an image, and the file that holds it.

QEMU names the secret by its id (`-object secret,id=…`), and shows that id with the image.  The secret
itself is in a file of its user's; it is never read here, nor written to a command line: qemu-img is
told the file.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from planner.model.text import json_object

__all__ = ["NO_KEYS", "NO_SECRETS", "Key", "Keys", "Secrets", "key_secret_of"]


@frozen
class Key:
    """What opens an encrypted image.

    Attributes:
        id: The secret's id.
        file: The file that holds it.
    """

    id: str
    file: str


Keys = Mapping[str, Key]
"""Keys by the image file that each opens."""

NO_KEYS: Keys = {}


@frozen
class Secrets:
    """The secrets that a user named.

    Attributes:
        files: The file of each, by the id that the VM's QEMU had for it.
    """

    files: Mapping[str, str] = field(factory=dict)

    def key(self, recorded: str) -> Key | None:
        """The key of an image; None: it is not among them.

        Args:
            recorded: The secret's id, as recorded; empty: nobody wrote it down.  A single secret is
                then taken to be the one that is meant: a wrong one opens nothing.
        """
        if recorded in self.files:
            return Key(recorded, self.files[recorded])
        if not recorded and len(self.files) == 1:
            [(name, file)] = self.files.items()
            return Key(name, file)
        return None


NO_SECRETS = Secrets()

_OPTIONS = "json:"


def key_secret_of(shown: str) -> str:
    """The id of the secret that opens a qcow2 image, from how QEMU shows its name; empty: none is told.

    QEMU shows the options of an image that cannot be opened without them (fact 70), and cuts them off
    after 4095 bytes.
    """
    if not shown.startswith(_OPTIONS):
        return ""
    options = json_object(shown.removeprefix(_OPTIONS)) or {}
    nested = options.get("encrypt")
    told = options.get("encrypt.key-secret")
    if told is None and isinstance(nested, Mapping):
        told = nested.get("key-secret")
    return told if isinstance(told, str) else ""
