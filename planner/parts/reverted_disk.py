"""Why a running VM's disk cannot hold an internal snapshot, or be reverted to one.

QEMU itself says most of these things late, in misleading words (fact 6), or not at all (facts 10, 20).
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.errors import Problem
from planner.model.facts import Disk
from planner.model.node_names import Chain
from planner.parts.disk_checks import inactive

__all__ = ["can_be_internal", "reverted_problems"]

_KEPT_BY_QEMU = (
    "a copy-before-write filter keeps it, or a job (backup, mirror): start QEMU without the filter; "
    "wait for the job, or cancel it"
)


def can_be_internal(disk: Disk) -> Iterator[Problem]:
    """Why a disk cannot hold an internal snapshot; nothing where it can."""
    name = disk.name
    if disk.driver != "qcow2":
        yield Problem(
            "format-without-snapshots",
            name,
            f"a {disk.driver} image holds no internal snapshots; only qcow2 does (fact 6)",
            "exclude it, or make its part external",
        )
    if disk.read_only:
        yield Problem("disk-read-only", name, "it is open for reading only (fact 6)", "exclude it")
    if disk.data_file:
        yield Problem(
            "external-data-file",
            name,
            "its data is in a file beside the qcow2 image: the snapshot would fail after the guest "
            "was stopped (fact 10)",
            "exclude it, or make its part external",
        )
    if disk.corrupt:
        yield Problem(
            "image-corrupt",
            name,
            "the image says of itself that it is damaged; QEMU refuses to write to it",
            f"end the VM and look: qemu-img check {disk.filename}",
        )
    yield from inactive(disk, name)


def reverted_problems(disk: Disk, file: str, tag: str) -> Iterator[Problem]:
    """Why `snapshot-load` would fail on a disk, or revert it to something else; nothing: it is fine.

    Args:
        disk: As it is now.
        file: The image that holds its part.
        tag: The snapshot's.
    """
    if file != disk.filename and any(layer.filename == file for layer in disk.backing):
        yield Problem(
            "part-under-overlay",
            disk.name,
            f"its part is in {file}, and the guest writes to {disk.filename} above it since",
            "delete the later snapshots and let their overlays be merged back first",
        )
    for bitmap in disk.bitmaps:
        called = repr(bitmap.name) if bitmap.name else "of QEMU's own, which has no name,"
        remedy = "remove it with block-dirty-bitmap-remove"
        if disk.chain is not Chain.QEMU:  # libvirt keeps account of its own
            remedy = "it may be a checkpoint of libvirt: `virsh checkpoint-delete DOMAIN NAME`"
        yield Problem(
            "dirty-bitmap",
            disk.name,
            f"dirty bitmap {called} would make the load fail when other disks are reverted "
            "already (fact 20)",
            remedy if bitmap.name else _KEPT_BY_QEMU,
        )
    for user in disk.users:
        yield Problem(
            "disk-busy",
            disk.name,
            f"block job {user!r} uses it, and would not notice that its data is exchanged",
            "wait for the job, or cancel it",
        )
    for snapshot in disk.snapshots:
        if snapshot.id == tag and snapshot.name != tag:
            yield Problem(
                "tag-is-an-id",
                disk.name,
                f"the tag {tag!r} is the id of its snapshot {snapshot.name!r}: QEMU would revert to "
                "that one (fact 9)",
                "revert by id with qemu-img, offline",
            )
