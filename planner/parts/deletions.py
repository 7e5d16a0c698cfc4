"""The ways in which a part is deleted, and what is known when that is decided.

There are three, and a kind of part takes one of them: a snapshot inside an image is deleted there, an
overlay is merged into the image that was frozen under it, and a file that is the part alone is removed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Disk
from planner.parts.part_image import ImagesByDisk

__all__ = [
    "UNPROVED",
    "UNPROVED_REMEDY",
    "DeletedPart",
    "Deletion",
    "DeletionOrigin",
    "MergedOverlay",
    "Overlays",
    "RemovedFile",
    "unproved",
]

UNPROVED = "overlay-unproved"
UNPROVED_REMEDY = (
    "find out which of the two the guest wrote to last (`qemu-img compare`, or start QEMU on a copy of "
    "each), and keep that one; `delete --overlays keep` gives up the record and touches neither"
)


class Overlays(StrEnum):
    """What becomes of the overlays of a snapshot that is deleted."""

    COMMIT = "commit"
    """What the guest wrote since is merged back into the frozen image, and the overlay goes."""
    KEEP = "keep"
    """The chain of images stays as it is; only the record that it is a snapshot goes."""


@frozen
class DeletionOrigin:
    """What is known when a delete is decided.

    Attributes:
        tag: The snapshot's.
        images: What the disks' images hold.
        overlays: What becomes of overlays; None: nobody said.
        absent: Images that are known not to be there.
        disks: The VM's disks by name; None: image files are worked on, without a VM.
        live_nodes: Live names of the VM's nodes that QEMU named.
        files_here: Whether the VM's files are this machine's.
        frozen_ns: When the snapshot was finished: host's wall clock, since the epoch.
    """

    tag: str
    images: ImagesByDisk
    overlays: Overlays | None
    absent: Collection[str]
    disks: Mapping[str, Disk] | None
    live_nodes: Mapping[str, str]
    files_here: bool
    frozen_ns: int

    def elsewhere(self, subject: str, file: str) -> Problem:
        """A delete would change a file that is not this machine's."""
        words = f"{file} is on QEMU's host, which is not known to be this machine"
        return Problem("host-not-here", subject, words, "run snapplan there")


@frozen
class DeletedPart:
    """One internal part.

    Attributes:
        disk: Canonical name.
        node: Live name of its image node; empty offline.
        root: What ``blockdev-snapshot-delete-internal-sync`` takes; empty offline.
        file: Its image.
        snapshot_id: Its id.
        vm_clock_ns: Its instant.
    """

    disk: str
    node: str
    root: str
    file: str
    snapshot_id: str
    vm_clock_ns: int


@frozen
class MergedOverlay:
    """An overlay whose contents are written into the frozen image below, so that both are one again.

    Attributes:
        disk: Canonical name.
        device: The root node of the disk, for `block-commit`; empty offline.
        overlay: Node of the overlay.
        base: Live node of the frozen image; empty offline.
        overlay_file: The overlay's file.
        base_file: The frozen image.
        base_format: Its format.
        job_id: Of the job that merges it.
        frozen_ns: When the frozen image was written to last, at the latest: host's wall clock, since
            the epoch.  One that was written to later is not what was saved.  0: not known.
        written_ns: When it was written to last, just so, as its file said; 0: that is not recorded.
        base_backing: What lies under the frozen image, each with its format; None: not recorded.
    """

    disk: str
    device: str
    overlay: str
    base: str
    overlay_file: str
    base_file: str
    base_format: str
    job_id: str
    frozen_ns: int = 0
    written_ns: int = 0
    base_backing: tuple[tuple[str, str], ...] | None = None

    @property
    def for_the_host(self) -> dict[str, object]:
        """The files as the instructions of `backends.merges` take them."""
        files: dict[str, object] = {
            "path": self.overlay_file,
            "base": self.base_file,
            "base-format": self.base_format,
        }
        if self.base_backing is not None:
            files["base-backing"] = [list(image) for image in self.base_backing]
        return files

    @property
    def evidence(self) -> dict[str, object]:
        """What tells whether the frozen image was written to since, for the host's instructions."""
        return {"frozen-ns": self.frozen_ns, "written-ns": self.written_ns}


@frozen
class RemovedFile:
    """A file that is a part and nothing else.

    Attributes:
        file: Its path.
    """

    file: str


Deletion = DeletedPart | MergedOverlay | RemovedFile
"""How one part is deleted."""


def unproved(merge: MergedOverlay, why: str) -> Problem:
    """An overlay of which nobody can prove that it was not merged yet."""
    words = f"{merge.overlay_file} is kept, and not merged into {merge.base_file}: {why}"
    return Problem(UNPROVED, merge.disk, words, UNPROVED_REMEDY)
