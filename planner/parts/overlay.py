"""A disk's image as it was, frozen under an overlay that the guest writes to since.

It is confirmed where the disk is on its overlay and the image lies right under that; told from any other
image by its place in the chain, its format and size, and what the file was.  Nobody may write to it
again.  No QMP command goes back to it: a fresh QEMU gets another overlay on it.  It is deleted by
merging the overlay into it, when the guest writes to the image again, or left as it is.

An overlay that is not on its disk is not merged because of that: a QEMU that was started by its old
command line runs on the frozen image, and what the guest wrote before is in the overlay alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import ClassVar, Self

from attrs import evolve, frozen

from planner.errors import Problem
from planner.model.facts import Disk
from planner.model.image import Image
from planner.parts.deletions import DeletionOrigin, MergedOverlay, Overlays
from planner.parts.disk_part import DiskPart
from planner.parts.part import LookAtFile, ManifestPart, Seen
from planner.parts.part_image import ImagesByDisk
from planner.parts.readied import Readied, RestoredPlace, Restoring, free_name, made_beside
from planner.parts.recorded_files import RecordedFile, Role, image_changed

__all__ = ["FrozenImage"]

_ROLE = Role("the frozen image", image_changed)


@frozen
class FrozenImage(DiskPart):
    """An image under an overlay; ``file`` is the frozen image.

    Attributes:
        overlay: Node name of the overlay above it.
        overlay_file: Its file.
    """

    kind: ClassVar[str] = "overlay"

    overlay: str = ""
    overlay_file: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The frozen image and its overlay."""
        return tuple(file for file in (self.file, self.overlay_file) if file)

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """The frozen image and its overlay, each with its format."""
        overlay = ((self.overlay_file, "qcow2"),) if self.overlay_file else ()
        return ((self.file, self.format), *overlay)

    @property
    def frozen_file(self) -> str:
        """The frozen image."""
        return self.file

    @property
    def needed_unchanged(self) -> Iterator[str]:
        """The frozen image, and what lies under it."""
        yield self.file
        yield from super().needed_unchanged

    @property
    def recorded_files(self) -> Iterator[RecordedFile]:
        """The frozen image, and what lies under it."""
        yield RecordedFile(self.subject, _ROLE, self.file, self.record)
        yield from super().recorded_files

    def with_files(self, today: Callable[[str], str]) -> Self:
        """The part with its files as they are called today."""
        overlay = today(self.overlay_file) if self.overlay_file else ""
        return evolve(super().with_files(today), overlay_file=overlay)

    def renewed(self, look: LookAtFile) -> Self:
        """The part with what its files are now."""
        below = super().renewed(look)
        return evolve(below, record=look(self.file, self.record, content=True))

    def problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """Whether the image lies where it should, and is what it was."""
        files = seen.images.get(self.disk)
        if files is None:
            yield Problem(
                "part-disk-missing",
                self.disk,
                f"this disk is gone; its part is the frozen image {self.file}",
                "attach the overlay under the same name again",
            )
            return
        base, overlay = files.get(self.file), files.get(self.overlay_file)
        if base is not None and overlay is None and base.active:
            yield Problem(
                "part-overwritten",
                self.disk,
                f"the guest writes to {self.file}, which was frozen under {self.overlay_file}",
                f"left out by mistake: end the VM now, and start QEMU on {self.overlay_file}; then "
                "`snapplan verify` says what is left of the snapshot; merged back: the snapshot of this "
                "disk is gone",
            )
            return
        restored = overlay is None and base is not None  # it lies under another overlay by now
        if base is None or not (restored or (overlay and overlay.backing[:1] == (self.file,))):
            chain = " on ".join(_chain(files)) or "nothing"
            words = f"{self.overlay_file} should lie on {self.file}; the chain is {chain}"
            yield Problem("chain-differs", self.disk, words)
            return
        if base.format != self.format:
            words = f"its frozen image was {self.format} and is {base.format}"
            yield Problem("part-format-differs", self.disk, words)
        if base.virtual_size_bytes != self.virtual_size_bytes:
            words = (
                f"the disk had {self.virtual_size_bytes} bytes and its frozen image has "
                f"{base.virtual_size_bytes}"
            )
            yield Problem("part-size-differs", self.disk, words)

    def header_problems(
        self, images: ImagesByDisk, one_file: Callable[[str, str], bool]
    ) -> Iterator[Problem]:
        """Whether its header names another file than lay under it when it was frozen.

        A QEMU that is started on the overlay follows the header; the record is what was saved.
        """
        image = images.get(self.disk, {}).get(self.file)
        if image is None or self.chain is None:
            return
        was = self.chain[0][0] if self.chain else ""
        now = image.backing[0] if image.backing else ""
        if was == now or (was and now and one_file(was, now)):
            return
        yield Problem(
            "chain-differs",
            self.disk,
            f"{self.file} lay on {was or 'nothing'} when it was saved, and its header names "
            f"{now or 'nothing'}, which QEMU would open",
            "look where the image comes from; `qemu-img rebase -u` writes another name",
        )

    def is_there(
        self,
        tag: str,
        images: ImagesByDisk,
        there: Mapping[str, bool | None],
    ) -> bool | None:
        """Whether both its files are there."""
        return there.get(self.overlay_file) if there.get(self.file) else there.get(self.file)

    def needed_by(self, theirs: ManifestPart, tag: str) -> Iterator[Problem]:
        """Whether another snapshot needs the overlay that would go, or the image that would change."""
        if theirs.file == self.overlay_file:
            words = f"{tag!r} has a part in {theirs.file}, which lies over {self.file}"
            yield Problem("part-needed", self.disk, words, f"delete {tag!r} first")
        elif self.file in set(theirs.needed_unchanged):
            words = f"{self.file} belongs to {tag!r}, too, as it is: a merge would change it"
            remedy = f"delete {tag!r} first (--overlays keep)"
            yield Problem("part-needed", self.disk, words, remedy)

    def deleted_with(self, overlays: Overlays | None) -> bool:
        """Only where overlays are merged; kept ones are left to whoever needs them."""
        return overlays is Overlays.COMMIT

    @property
    def merge_job(self) -> str:
        """The id of the job that merges the overlay: the same for each delete of it."""
        digest = hashlib.sha256(f"{self.overlay}\0{self.overlay_file}".encode()).hexdigest()
        return f"snapplan-merge-{digest[:16]}"

    def delete_problems(self, origin: DeletionOrigin) -> Iterator[Problem]:
        """Why the overlay cannot be merged back; one that is gone was merged by an earlier delete."""
        if origin.overlays is None:
            yield Problem(
                "overlays-undecided",
                self.disk,
                f"{self.overlay_file} lies over its frozen image {self.file}",
                "say --overlays commit to merge it back, or --overlays keep",
            )
        if origin.overlays is not Overlays.COMMIT:
            return
        if not origin.files_here:
            yield origin.elsewhere(self.subject, self.file)
        if origin.disks is not None:  # offline, the host looks at the files themselves
            yield from self._unmergeable(origin)

    def _unmergeable(self, origin: DeletionOrigin) -> Iterator[Problem]:
        files = origin.images.get(self.disk)
        if files is None:
            words = f"it is gone, so {self.overlay_file} cannot be merged back"
            yield Problem("part-disk-missing", self.disk, words, "attach it, or use --offline")
            return
        base, overlay = files.get(self.file), files.get(self.overlay_file)
        on_base = base is not None and base.active and overlay is None
        on_top = overlay is not None and overlay.active and overlay.backing[:1] == (self.file,)
        if on_base and self.overlay_file not in origin.absent:
            yield self._left_out()
        elif not on_base and not on_top:
            words = f"{self.overlay_file} does not lie on {self.file} at the top of its chain"
            remedy = "delete the later snapshots first, or keep it (--overlays keep)"
            yield Problem("chain-differs", self.disk, words, remedy)

    def _left_out(self) -> Problem:
        """A QEMU that was started on the frozen image knows nothing of the overlay: it is not merged."""
        return Problem(
            "chain-differs",
            self.disk,
            f"the VM runs on {self.file}, and {self.overlay_file} exists: it is not merged, and what "
            "the guest wrote to it since the snapshot would be lost",
            f"end the VM, and start it on {self.overlay_file} if that is to count; else keep it "
            "(--overlays keep)",
        )

    def deletion(self, origin: DeletionOrigin) -> MergedOverlay | None:
        """The overlay is merged into the image; None: that is done already."""
        if origin.disks is None:
            absent = self.overlay_file in origin.absent
            return None if absent else self._merged(origin, "", "")
        files = origin.images[self.disk]
        if self.overlay_file not in files:
            return None
        top = files[self.overlay_file].node  # one that a user has started has another name
        overlay = origin.live_nodes.get(top, top) or self.overlay
        root = origin.disks[self.disk].root
        device, base = origin.live_nodes.get(root, root), files[self.file].node
        return evolve(self._merged(origin, device, base), overlay=overlay)

    def _merged(self, origin: DeletionOrigin, device: str, base: str) -> MergedOverlay:
        return MergedOverlay(
            self.disk,
            device,
            self.overlay,
            base,
            self.overlay_file,
            self.file,
            self.format,
            self.merge_job,
            frozen_ns=origin.frozen_ns,
            written_ns=self.record.mtime_ns if self.record.known else 0,
            base_backing=self.chain,
        )

    def load_problems(self, tag: str, disk: Disk | None, images: ImagesByDisk) -> Iterator[Problem]:
        """No running VM goes back to it."""
        yield Problem(
            "load-cannot",
            self.disk,
            "its part is an image under an overlay: no QMP command goes back to it",
            "end the VM, then `snapplan load --run LINE`, or without it to see the way",
        )

    def revert_problems(self, tag: str, images: ImagesByDisk) -> Iterator[Problem]:
        """There is nothing in the image to revert to."""
        words = "its part is an image under an overlay, and no snapshot in an image"
        yield Problem("load-cannot", self.disk, words)

    def restore_problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """Whether another overlay can be put on the image."""
        base = seen.images.get(self.disk, {}).get(self.file)
        if base is None:
            words = f"its frozen image {self.file} cannot be looked at"
            yield Problem("file-missing", self.disk, words)
        elif (base.format, base.virtual_size_bytes) != (self.format, self.virtual_size_bytes):
            was = f"{self.format} of {self.virtual_size_bytes} bytes"
            now = f"{base.format} of {base.virtual_size_bytes}"
            words = f"its frozen image was {was} and is {now}"
            yield Problem("part-size-differs", self.disk, words)

    def restored(self, restoring: Restoring) -> RestoredPlace:
        """On a new overlay, always beside the first one, so that `restored_problems` finds it."""
        folder, _, name = self.overlay_file.rpartition("/")
        file = free_name(folder, name, restoring.taken, restoring.number)
        return RestoredPlace(Readied.NEW_OVERLAY, file, "qcow2")

    @property
    def restored_folder(self) -> str:
        """The folder of the first overlay."""
        return self.overlay_file.rpartition("/")[0] or "/"

    def restored_problems(self, taken: Collection[str]) -> Iterator[Problem]:
        """Overlays that restores put on the image: it must not be merged into."""
        for path in made_beside(self.overlay_file, {*taken} - {self.overlay_file}):
            words = f"{path} was made by a restore, and lies on {self.file} too: a merge would change it"
            remedy = "remove it if it is not needed, or use --overlays keep"
            yield Problem("part-needed", self.disk, words, remedy)

    def ready_instruction(self, how: Readied, file: str) -> tuple[str, dict[str, object]]:
        """A new overlay is made."""
        size = self.virtual_size_bytes
        more = {"base": self.file, "base-format": self.format, "size": size}
        return "create-overlay", {"path": file, **more}

    def ready_command(self, how: Readied, file: str, image_format: str) -> list[str]:
        """The same with qemu-img."""
        size = str(self.virtual_size_bytes)
        over = ["-F", self.format, "-b", self.file]
        return ["qemu-img", "create", "-q", "-f", image_format, *over, "--", file, size]


def _chain(files: Mapping[str, Image]) -> tuple[str, ...]:
    top = next((image for image in files.values() if image.active), None)
    return () if top is None else (top.file, *top.backing)
