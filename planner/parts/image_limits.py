"""What an image that holds snapshots in general cannot hold in particular: room, and machine state.

QEMU says none of this beforehand.  A snapshot too many fails after the guest was stopped, and machine
state in an encrypted image ends QEMU (facts 66 and 67).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from planner.errors import Problem
from planner.model.facts import Disk

__all__ = ["encryption_warnings", "has_room", "holds_machine_state"]

_TABLE_LIMIT = 65536
"""Most snapshots that QEMU's qcow2 driver lists of one image."""


def has_room(disk: Disk, given_up: int = 0) -> Iterator[Problem]:
    """Why one snapshot more does not fit into an image; nothing where it does.

    A cluster that no snapshot changed is counted once for each of them, and once for the disk itself.

    Args:
        disk: The disk.
        given_up: How many snapshots are deleted before.
    """
    held = len(disk.snapshots) - given_up
    most = min(2**disk.refcount_bits - 2, _TABLE_LIMIT)
    if disk.driver != "qcow2" or held < most:
        return
    bits = f"{disk.refcount_bits} refcount bits"
    count = "no snapshot" if most == 0 else f"{most} snapshots at most"
    amend = (
        f"end the VM and widen them: qemu-img amend -f qcow2 -o refcount_bits=16 {disk.filename}"
    )
    narrow = most < _TABLE_LIMIT
    yield Problem(
        "snapshots-full",
        disk.name,
        f"its image holds {held} and, with {bits}, has room for {count}: one more would fail after "
        "the guest was stopped (fact 67)",
        f"{amend}; or delete old snapshots" if narrow else "delete old snapshots",
    )


def holds_machine_state(disk: Disk, others: Iterable[Disk] = ()) -> Iterator[Problem]:
    """Why an image cannot hold machine state beside its own part; nothing where it can.

    Args:
        disk: The disk.
        others: The VM's disks, to name those that can.
    """
    if not disk.encrypted or disk.driver != "qcow2":
        return
    able = [d.name for d in others if d.attached and d.driver == "qcow2" and not d.encrypted]
    instead = f"put it on {min(able)!r}, or " if able else ""
    yield Problem(
        "vmstate-encrypted",
        disk.name,
        "its image is encrypted: QEMU would abort while it writes machine state there, and the guest "
        "be lost (fact 66)",
        f"{instead}write it to a file: `machine-state: {{external: PATH, capture: stopped}}`; the "
        "disk's own part may stay internal",
    )


def encryption_warnings(
    disks: Collection[Disk], *, in_vm: bool, machine_state: bool
) -> Iterator[str]:
    """What a snapshot of encrypted disks costs, beyond what one of plain disks does.

    Args:
        disks: The disks that are not left out.
        in_vm: Whether a running VM loads the snapshot; else its disks are reverted offline.
        machine_state: Whether memory is saved.
    """
    encrypted = sorted(disk.name for disk in disks if disk.encrypted)
    if not encrypted:
        return
    names = ", ".join(encrypted)
    ids = sorted({disk.key_secret for disk in disks if disk.encrypted and disk.key_secret})
    secret = ids[0] if len(ids) == 1 else "ID"
    if machine_state:
        yield (
            f"the machine state is not encrypted, and {names} is: the guest's memory holds what it has "
            "read of it"
        )
    parts = "loaded, deleted or repaired" if in_vm else "reverted, deleted or repaired"
    way = "" if in_vm else "; with the machine state inside another disk, `load --vm` needs no key"
    yield (
        f"[image-encrypted] {names}: encrypted: without the VM and without the key it can be verified, "
        f"and not {parts}; keep a file that holds the key, for --secret {secret}=FILE then{way}"
    )
