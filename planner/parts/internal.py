"""A snapshot inside a qcow2 image; it may hold the machine state as well.

What tells it from all others is its file, its id, its tag and its vm-clock (fact 15); all four are
compared, and nothing is believed because of its name alone.  The guest goes on writing to the image.  A
running VM goes back to it (`snapshot-load`), qemu-img reverts the image to it, and a fresh QEMU opens
the image reverted, or a copy.  It is deleted by id and name, where the image shows it; one that is gone
is gone, so that a delete that was interrupted is finished by another one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import ClassVar, Self

from attrs import evolve, frozen

from planner.errors import Problem
from planner.model.facts import Disk, SnapshotInfo
from planner.model.image import Image
from planner.parts.deletions import DeletedPart, DeletionOrigin
from planner.parts.disk_part import DiskPart
from planner.parts.part import ManifestPart, Seen
from planner.parts.part_image import ImagesByDisk
from planner.parts.readied import Readied, RestoredPlace, Restoring, free_name
from planner.parts.reverted_disk import can_be_internal, reverted_problems

__all__ = ["InternalSnapshot"]

_NS_PER_S = 1e9


@frozen
class InternalSnapshot(DiskPart):
    """A snapshot in an image; ``file`` is the image.

    Attributes:
        snapshot_id: QEMU's id of it.
        vm_clock_ns: The guest's clock in it.
        vm_state_size_bytes: Machine state in it; 0: none.
    """

    kind: ClassVar[str] = "internal"
    external: ClassVar[bool] = False
    read_by_load: ClassVar[bool] = True

    snapshot_id: str = ""
    vm_clock_ns: int = 0
    vm_state_size_bytes: int = 0

    @property
    def holds_state(self) -> bool:
        """Whether it holds the machine state."""
        return bool(self.vm_state_size_bytes)

    @property
    def state_bytes(self) -> int:
        """Bytes of machine state in it."""
        return self.vm_state_size_bytes

    @property
    def instant_ns(self) -> int | None:
        """The guest's clock in it."""
        return self.vm_clock_ns

    @property
    def plain_id(self) -> str:
        """QEMU's id of it."""
        return self.snapshot_id

    def found_in(self, tag: str, snapshots: Iterable[SnapshotInfo]) -> SnapshotInfo | None:
        """The snapshot that has its id and tag; None where there is none."""
        wanted = (self.snapshot_id, tag)
        return next((found for found in snapshots if (found.id, found.name) == wanted), None)

    def is_among(self, snapshots: Iterable[SnapshotInfo]) -> bool:
        """Whether one of these is it, by all that is recorded of it but its tag."""
        mine = (self.snapshot_id, self.vm_clock_ns, self.vm_state_size_bytes)
        return any(
            mine == (found.id, found.vm_clock_ns, found.vm_state_size_bytes) for found in snapshots
        )

    def problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """Whether the image that should hold it does, and it is what it was."""
        images = seen.images
        if self.disk not in images:
            yield Problem(
                "part-disk-missing",
                self.disk,
                f"this disk is gone; its part is snapshot {self.snapshot_id} of {self.file}",
                "attach the image under the same name again",
            )
        elif self.file not in images[self.disk]:
            yield self._file_differs(images)
        else:
            yield from self._image_problems(tag, images[self.disk][self.file])

    def _file_differs(self, images: ImagesByDisk) -> Problem:
        active = next((image for image in images[self.disk].values() if image.active), None)
        now = "nothing" if active is None else active.file
        if active is not None and self.is_among(active.snapshots):
            return Problem(
                "part-file-differs",
                self.disk,
                f"its image was {self.file} and is {now}, which holds this very part (id, vm-clock)",
                f"if it was moved there, say so: --moved {self.file}={now}",
            )
        owner = next((disk for disk, files in images.items() if self.file in files), None)
        swapped = f"; {self.file} is disk {owner!r} now" if owner else ""
        return Problem(
            "part-file-differs",
            self.disk,
            f"its image was {self.file} and is {now}{swapped}",
            "attach each image to the disk that it was saved from",
        )

    def _image_problems(self, tag: str, image: Image) -> Iterator[Problem]:
        if image.format != self.format:
            message = f"its image was {self.format} and is {image.format}"
            yield Problem("part-format-differs", self.disk, message)
        if image.virtual_size_bytes != self.virtual_size_bytes:
            yield Problem(
                "part-size-differs",
                self.disk,
                f"the disk had {self.virtual_size_bytes} bytes and has {image.virtual_size_bytes}",
                "the guest would find a disk of another size than it knows",
            )
        held = image.holding(tag)
        if len(held) > 1:
            ids = ", ".join(snapshot.id for snapshot in held)
            yield Problem(
                "part-twice",
                self.disk,
                f"it holds {len(held)} snapshots {tag!r} (ids {ids}); QEMU takes the first (fact 22)",
                f"the snapshot's own has id {self.snapshot_id}; delete the others by id and name",
            )
        found = self.found_in(tag, held)
        yield from (self._missing(tag, image, held),) if found is None else self._contents(found)

    def _missing(self, tag: str, image: Image, held: tuple[SnapshotInfo, ...]) -> Problem:
        also = ""
        if held:
            also = f"; it holds another snapshot of that tag (id {held[0].id})"
        elif self.snapshot_id in image.ids:
            also = f"; id {self.snapshot_id} is another snapshot now"
        return Problem(
            "part-missing",
            self.disk,
            f"snapshot {self.snapshot_id} {tag!r} is not in {self.file}{also}",
            "the snapshot is incomplete and cannot be loaded; `snapplan delete` removes the rest",
        )

    def _contents(self, found: SnapshotInfo) -> Iterator[Problem]:
        if found.vm_clock_ns != self.vm_clock_ns:
            yield Problem(
                "part-differs",
                self.disk,
                f"its part is of another instant: vm-clock {_seconds(found.vm_clock_ns)} and not "
                f"{_seconds(self.vm_clock_ns)} (fact 15)",
                "another snapshot of this tag and id was made since; it is no part of this one",
            )
        if found.vm_state_size_bytes != self.vm_state_size_bytes:
            yield Problem(
                "part-differs",
                self.disk,
                f"its machine state has {found.vm_state_size_bytes} bytes and not "
                f"{self.vm_state_size_bytes}",
            )

    def is_there(
        self,
        tag: str,
        images: ImagesByDisk,
        there: Mapping[str, bool | None],
    ) -> bool | None:
        """Whether its image holds it."""
        image = images.get(self.disk, {}).get(self.file)
        if image is None:  # it is in use, or gone with all that it held
            return False if there.get(self.file) is False else None
        return self.found_in(tag, image.holding(tag)) is not None

    @property
    def mark(self) -> tuple[str, str, int] | None:
        """File, id and vm-clock."""
        return self.file, self.snapshot_id, self.vm_clock_ns

    def below(self, tag: str, images: Mapping[str, Image | None]) -> SnapshotInfo | None:
        """The snapshot in its image, where that lies under an overlay by now."""
        image = images.get(self.file)
        found = None if image is None else self.found_in(tag, image.holding(tag))
        return found if found is not None and found.vm_clock_ns == self.vm_clock_ns else None

    def is_missing(
        self,
        marks: Collection[tuple[str, str, int]],
        unseen: Collection[str],
        lost: Collection[str],
    ) -> bool:
        """Whether no image holds it."""
        return self.mark not in marks and self.file not in unseen

    def taken_by(
        self, tag: str, disk: Disk | None, replaced: Collection[tuple[str, str]]
    ) -> bool | None:
        """Whether its disk holds it still, and the new snapshot does not replace it."""
        held = () if disk is None else disk.snapshots
        there = self.found_in(tag, held) is not None
        return there and (self.disk, self.snapshot_id) not in replaced

    def needed_by(self, theirs: ManifestPart, tag: str) -> Iterator[Problem]:
        """Whether another snapshot's record names the same snapshot in the image."""
        if isinstance(theirs, InternalSnapshot) and (
            (theirs.file, theirs.snapshot_id) == (self.file, self.snapshot_id)
        ):
            words = f"snapshot {self.snapshot_id} of {self.file} is a part of {tag!r}, too"
            yield Problem("part-needed", self.subject, words, f"delete {tag!r} first")

    def delete_problems(self, origin: DeletionOrigin) -> Iterator[Problem]:
        """Where it cannot be told whether it is there, or what is there is another's."""
        if origin.disks is None and self.file in origin.absent:
            return
        image = origin.images.get(self.disk, {}).get(self.file)
        if image is None:
            yield Problem(
                "part-disk-missing",
                self.disk,
                f"its image {self.file} is not there, so its part cannot be looked for",
                "attach it again, or delete with --offline where it lies",
            )
            return
        found = self.found_in(origin.tag, image.holding(origin.tag))
        if found is not None and found.vm_clock_ns != self.vm_clock_ns:
            yield Problem(
                "part-differs",
                self.disk,
                f"snapshot {self.snapshot_id} {origin.tag!r} is of another instant than recorded "
                "(fact 15): it was made by another program",
                "delete it by id and name, if it is not wanted; then delete again",
            )
        elif found is not None and not image.active:
            yield Problem(
                "part-under-overlay",
                self.disk,
                f"its part is in {self.file}, and an overlay lies above it since",
                "delete the later snapshots first, or use --offline",
            )

    def deletion(self, origin: DeletionOrigin) -> DeletedPart | None:
        """It is deleted by id and name; None: the image does not show it."""
        absent = origin.disks is None and self.file in origin.absent
        held = () if absent else origin.images[self.disk][self.file].snapshots
        if self.found_in(origin.tag, held) is None:
            return None
        node = root = ""
        if origin.disks is not None:
            disk = origin.disks[self.disk]
            live = origin.live_nodes
            node, root = live.get(disk.node, disk.node), live.get(disk.root, disk.root)
        return DeletedPart(self.disk, node, root, self.file, self.snapshot_id, self.vm_clock_ns)

    def load_problems(self, tag: str, disk: Disk | None, images: ImagesByDisk) -> Iterator[Problem]:
        """Why QEMU would fail to revert the disk, or revert it to something else."""
        yield from self.problems(tag, Seen(images))
        if disk is not None:
            yield from can_be_internal(disk)
            yield from reverted_problems(disk, self.file, tag)

    def revert_problems(self, tag: str, images: ImagesByDisk) -> Iterator[Problem]:
        """What stops qemu-img from reverting the image; one that nobody could look into, others tell."""
        if images.get(self.disk):
            yield from self.problems(tag, Seen(images))
        image = images.get(self.disk, {}).get(self.file)
        for bitmap in () if image is None else image.bitmaps:
            words = f"dirty bitmap {bitmap!r} is in the image, and stops the revert"
            yield Problem("dirty-bitmap", self.disk, words, "remove it with `qemu-img bitmap`")

    def restore_problems(self, tag: str, seen: Seen) -> Iterator[Problem]:
        """A fresh QEMU opens the image, or a copy."""
        yield from self.problems(tag, seen)

    def restored(self, restoring: Restoring) -> RestoredPlace:
        """Where it is, or in a copy.

        Where the machine state is inside an image as well, whole images are copied: a converted image
        holds the disk's content only, and `snapshot-load` reverts each disk by itself.
        """
        folder = restoring.copies.rstrip("/")
        if not folder:
            how = Readied.AS_IT_IS if restoring.loads else Readied.REVERT
            return RestoredPlace(how, self.file, self.format)
        how = Readied.COPY if restoring.loads else Readied.CONVERT
        file = free_name(folder, self.file.rpartition("/")[2], restoring.taken, restoring.number)
        return RestoredPlace(how, file, self.format)

    def ready_instruction(self, how: Readied, file: str) -> tuple[str, dict[str, object]]:
        """A copy is made: of what it holds, or of the whole image."""
        if how is not Readied.CONVERT:
            return "copy-image", {"path": file, "source": self.file}
        source: dict[str, object] = {"source": self.file, "snapshot-id": self.snapshot_id}
        if self.chain is not None:
            source["backing"] = [list(image) for image in self.chain]
        return "convert-snapshot", {"path": file, **source}

    def ready_command(self, how: Readied, file: str, image_format: str) -> list[str]:
        """The same with qemu-img and cp."""
        if how is Readied.REVERT:
            return self.revert_command
        if how is Readied.CONVERT:
            wanted = ["-O", image_format, "-l", f"snapshot.id={self.snapshot_id}"]
            if self.key_secret:
                key = f"encrypt.format=luks,encrypt.key-secret={self.key_secret}"
                return [
                    "qemu-img",
                    "convert",
                    *self._secret,
                    *wanted,
                    "-o",
                    key,
                    *self._opened,
                    file,
                ]
            return ["qemu-img", "convert", "-f", "qcow2", *wanted, "--", self.file, file]
        return ["cp", "--no-clobber", "--", self.file, file] if how is Readied.COPY else []

    @property
    def revert_command(self) -> list[str]:
        """What a person types to revert the image to it, by id (fact 9)."""
        revert = f"-a{self.snapshot_id}"
        if self.key_secret:
            return ["qemu-img", "snapshot", *self._secret, revert, *self._opened]
        return ["qemu-img", "snapshot", revert, "--", self.file]

    @property
    def _secret(self) -> list[str]:
        return ["--object", f"secret,id={self.key_secret},file=FILE"]

    @property
    def _opened(self) -> list[str]:
        file = self.file.replace(",", ",,")
        options = f"driver=qcow2,encrypt.key-secret={self.key_secret},file.filename={file}"
        return ["--image-opts", "--", options]

    def expected_at(self, file: str) -> Self | None:
        """The same, in the file that the fresh QEMU opened."""
        return evolve(self, file=file)


def _seconds(ns: int) -> str:
    return f"{ns / _NS_PER_S:.9f} s"
