"""What a VM's migration settings are to a snapshot: which leave it alone, which spoil it.

`snapshot-save` and `snapshot-load` read and write the machine state by QEMU's migration code, and heed
the capabilities and parameters that are set for migrations, whoever set them and forgot it (fact 64).
Of those that no snapshot needs nothing is taken on trust: all capabilities but the harmless ones are off
for a run, the parameters below have their ordinary values, and what was found is put back.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HARMLESS", "LIMITS", "ORDINARY", "SPOILS", "Setting"]

Setting = bool | int | str
"""The value of a migration parameter."""

HARMLESS = frozenset({"events"})
"""Capabilities that may be on in any run: this one only has QEMU tell more."""

LIMITS = ("downtime-limit", "max-bandwidth")
"""Parameters that a run may set as the request says, and has to put back."""

ORDINARY: Mapping[str, Setting] = {"direct-io": False, "mode": "normal", "tls-creds": ""}
"""Parameters that change what a stream or a vmstate is, each with the only value that is right."""

SPOILS: Mapping[str, str] = {
    "block": "QEMU refuses the save",
    "compress": "what is saved cannot be loaded",
    "mapped-ram": "the load fails when the disks are reverted already",
    "multifd": "QEMU 7.2 and 10.0 crash, later ones refuse it",
    "x-ignore-shared": "shared memory is left out, and the load fails or keeps today's memory",
}
"""Capabilities that are known to spoil a `snapshot-save` or `snapshot-load`, and how (fact 64)."""
