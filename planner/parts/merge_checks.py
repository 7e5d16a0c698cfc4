"""Whether overlays can be merged back into the images that were frozen under them.

An overlay that is not on its disk is not merged because of that: a QEMU that was started by its old
command line runs on the frozen image, and what the guest wrote before is in the overlay alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping

from attrs import frozen

from planner.errors import Problem
from planner.model.image import Image
from planner.model.manifest import Manifest, ManifestPart, PartKind

__all__ = [
    "UNPROVED",
    "UNPROVED_REMEDY",
    "MergedOverlay",
    "merge_job",
    "merge_problems",
    "merged",
    "unproved",
]

UNPROVED = "overlay-unproved"
UNPROVED_REMEDY = (
    "find out which of the two the guest wrote to last (`qemu-img compare`, or start QEMU on a copy of "
    "each), and keep that one; `delete --overlays keep` gives up the record and touches neither"
)


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


def merge_job(part: ManifestPart) -> str:
    """The id of the job that merges an overlay: the same for each delete of it."""
    digest = hashlib.sha256(f"{part.overlay}\0{part.overlay_file}".encode()).hexdigest()
    return f"snapplan-merge-{digest[:16]}"


def merge_problems(
    manifest: Manifest, images: Mapping[str, Mapping[str, Image]], absent: Collection[str]
) -> Iterator[Problem]:
    """Why an overlay cannot be merged back; one whose file is gone was merged by an earlier delete."""
    for part in manifest.of_kind(PartKind.OVERLAY):
        files = images.get(part.disk)
        if files is None:
            words = f"it is gone, so {part.overlay_file} cannot be merged back"
            yield Problem("part-disk-missing", part.disk, words, "attach it, or use --offline")
            continue
        base, overlay = files.get(part.file), files.get(part.overlay_file)
        on_base = base is not None and base.active and overlay is None
        on_top = overlay is not None and overlay.active and overlay.backing[:1] == (part.file,)
        if on_base and part.overlay_file not in absent:
            yield _left_out(part)
        elif not on_base and not on_top:
            words = f"{part.overlay_file} does not lie on {part.file} at the top of its chain"
            remedy = "delete the later snapshots first, or keep it (--overlays keep)"
            yield Problem("chain-differs", part.disk, words, remedy)


def _left_out(part: ManifestPart) -> Problem:
    """A QEMU that was started on the frozen image knows nothing of the overlay: it is not merged."""
    return Problem(
        "chain-differs",
        part.disk,
        f"the VM runs on {part.file}, and {part.overlay_file} exists: it is not merged, and what the "
        "guest wrote to it since the snapshot would be lost",
        f"end the VM, and start it on {part.overlay_file} if that is to count; else keep it "
        "(--overlays keep)",
    )


def merged(manifest: Manifest, part: ManifestPart, device: str, base: str) -> MergedOverlay:
    """An overlay that is to be merged."""
    return MergedOverlay(
        part.disk,
        device,
        part.overlay,
        base,
        part.overlay_file,
        part.file,
        part.format,
        merge_job(part),
        frozen_ns=manifest.ended_ns,
        written_ns=part.record.mtime_ns if part.record.known else 0,
        base_backing=part.chain,
    )


def unproved(merge: MergedOverlay, why: str) -> Problem:
    """An overlay of which nobody can prove that it was not merged yet."""
    words = f"{merge.overlay_file} is kept, and not merged into {merge.base_file}: {why}"
    return Problem(UNPROVED, merge.disk, words, UNPROVED_REMEDY)
