"""How an image is frozen under an overlay: `planner.parts.overlay`, before it is there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar

from attrs import frozen

from planner.errors import Problem
from planner.model.facts import Disk, Facts
from planner.model.image_place import Reach
from planner.model.node_names import Chain
from planner.model.operations import Kind, Operation
from planner.model.request import Exclude, External, NoMachineState, Others, Request, Wish
from planner.parts.disk_checks import elsewhere, inactive
from planner.parts.making import DiskCapture, Making, NotShown, Shown, ShownPart, backing_of
from planner.parts.overlay import FrozenImage
from planner.parts.start_options import start_option
from planner.program.program import Step, Target, Undo, UndoKind
from planner.program.resolution import Overlay, Resolution, overlay_node_name

__all__ = ["MakeOverlay", "ShownOverlay"]

_HOST_TIMEOUT_S = 120
_SERVED = ("nbd://", "nbd+unix://")
"""How a name begins that is no path, and that an overlay can all the same name as its backing file."""
_ADD_TIMEOUT_S = 300


@frozen
class ShownOverlay(ShownPart):
    """A disk's image as it was, frozen under an overlay.

    Attributes:
        disk: The disk's canonical name.
        node: The frozen image's node.
        filename: The frozen image.
        format: Its format.
        overlay: The overlay's node.
        overlay_file: The overlay.
        size_bytes: Virtual size of both.
        chain: Who keeps account of it; libvirt starts the domain on the overlay.
    """

    plain_key: ClassVar[str] = "frozen"

    disk: str
    node: str
    filename: str
    format: str
    overlay: str
    overlay_file: str
    size_bytes: int
    chain: Chain = Chain.QEMU

    def recorded(self, disks: Mapping[str, Disk]) -> FrozenImage:
        """What the manifest has of it."""
        disk = disks[self.disk]
        return FrozenImage(
            disk=self.disk,
            qdev=disk.qdev,
            node=disk.node,
            root=disk.root,
            file=self.filename,
            format=self.format,
            overlay=self.overlay,
            overlay_file=self.overlay_file,
            virtual_size_bytes=disk.virtual_size_bytes,
            backing=backing_of(disk),
            place=disk.place,
            key_secret=disk.key_secret,
        )

    def to_plain(self) -> dict[str, object]:
        """What a program is shown of it."""
        return {
            "disk": self.disk,
            "node": self.node,
            "file": self.filename,
            "format": self.format,
            "virtual-size": self.size_bytes,
            "overlay": self.overlay,
            "overlay-file": self.overlay_file,
        }

    @property
    def more(self) -> str:
        """Where the guest writes to now."""
        return f" is frozen; the guest writes to {self.overlay_file}"

    @property
    def start_file(self) -> str:
        """The overlay."""
        return self.overlay_file

    @property
    def start_option(self) -> str:
        """The option of QEMU's that puts the disk on its overlay, written as the disk's own was."""
        return (
            ""
            if self.chain is Chain.LIBVIRT
            else start_option(self.node, self.overlay_file, "qcow2")
        )


class MakeOverlay(Making):
    """Images under new overlays."""

    def can_be(self, disk: Disk) -> Iterator[Problem]:
        """Why a disk cannot get an overlay; nothing where it can."""
        if disk.read_only:
            yield Problem("disk-read-only", disk.name, "it is open for reading only", "exclude it")
        if disk.encrypted:
            yield Problem(
                "overlay-over-encrypted",
                disk.name,
                "it is encrypted: the overlay would not be, and nobody could open it again without the "
                "key of the image under it, which is not in the overlay",
                "make the part internal, or exclude it",
            )
        elif disk.chain is Chain.BEHIND_LIBVIRT:
            yield Problem(
                "overlay-behind-libvirt",
                disk.name,
                "libvirt runs this QEMU, and would start the domain from the image under the overlay: "
                "all that the guest writes from now on would be lost (fact 132)",
                "reach the VM through libvirt (--vm qemu:///system#DOMAIN), or make the part internal",
            )
        elif disk.chain is Chain.LIBVIRT and not disk.target:
            yield Problem(
                "overlay-behind-libvirt",
                disk.name,
                "libvirt puts overlays on disks alone, and to it this is none (the firmware's variables "
                "are none): it would start the domain from the image under the overlay, without "
                "anything that the guest writes from now on",
                "exclude it; or make the part internal where the image is qcow2",
            )
        elif disk.place.reach is Reach.ELSEWHERE:
            yield elsewhere(disk, "an overlay")
        elif not disk.filename.startswith(("/", *_SERVED)):
            yield Problem(
                "base-not-a-file",
                disk.name,
                f"its image {disk.filename[:80]!r} is no absolute path of a file, which an overlay "
                "could name as its backing file",
                "start QEMU with absolute paths, or make the part internal",
            )
        yield from inactive(disk, disk.name)

    def refusals(self, disk: Disk, wish: Wish, request: Request) -> Iterator[Problem]:
        """The same; and through libvirt overlays are made in a call of their own."""
        yield from self.can_be(disk)
        if disk.chain is not Chain.LIBVIRT:
            return
        stands = not isinstance(request.machine_state, NoMachineState)
        beside = request.others is Others.INTERNAL or any(
            not isinstance(each, External | Exclude) for _, each in request.disks
        )
        if beside and not stands:
            yield Problem(
                "overlay-not-alone",
                disk.name,
                "libvirt puts overlays on in a call of their own: beside other parts they are of the "
                "same instant only where the guest stands, and without machine state it does not",
                "ask for machine state as well, or for overlays alone",
            )

    def new_file(self, wish: Wish) -> str | None:
        """The overlay."""
        return wish.path if isinstance(wish, External) else None

    def asked_for(self, wish: Wish) -> str:
        """The wish as a plan shows it."""
        return f"external: {self.new_file(wish)}"

    label: ClassVar[str] = "under overlays"
    field: ClassVar[str] = "overlays"

    def planned(self, tag: str, disk: Disk, wish: Wish, facts: Facts) -> Overlay:
        """The overlay, with all that is needed to make it."""
        path = self.new_file(wish) or ""
        return Overlay(
            disk=disk.name,
            node=disk.node,
            root=disk.root,
            path=path,
            # Through libvirt an overlay is known by its file alone (`backends.domain.chains`).
            overlay=overlay_node_name("" if disk.chain is Chain.LIBVIRT else tag, path),
            base_file=disk.filename,
            base_format=disk.driver,
            size_bytes=disk.virtual_size_bytes,
        )

    def disks(self, resolution: Resolution) -> tuple[str, ...]:
        """The disks that get an overlay."""
        return tuple(overlay.disk for overlay in resolution.overlays)

    def commands(self, resolution: Resolution) -> Iterator[str]:
        """To undo: the overlay is taken out, or merged back; to look: what lies under the disks."""
        if resolution.overlays:
            yield from (
                "blockdev-del",
                "block-commit",
                "job-complete",
                "job-dismiss",
                "query-block",
            )

    def files(self, resolution: Resolution) -> tuple[str, ...]:
        """The overlays."""
        return tuple(overlay.path for overlay in resolution.overlays)

    def prepared(self, resolution: Resolution) -> Iterator[Step]:
        """Make each overlay's image, and give QEMU a node of it.

        The image names its base as backing file, for whoever opens it later; the node is added
        without one, since `blockdev-snapshot` puts it on the base's node itself.
        """
        for overlay in resolution.overlays:
            added = Operation(Kind.ADD_OVERLAY, disk=overlay.disk)
            yield Step(
                execute="create-overlay",
                arguments={
                    "path": overlay.path,
                    "base": overlay.base_file,
                    "base-format": overlay.base_format,
                    "size": overlay.size_bytes,
                },
                covers=(),
                undo=(Undo(UndoKind.REMOVE_FILE, overlay.disk),),
                timeout_s=_HOST_TIMEOUT_S,
                target=Target.HOST,
                precedes=(added,),
            )
            yield Step(
                execute="blockdev-add",
                arguments={
                    "driver": "qcow2",
                    "node-name": overlay.overlay,
                    "file": {"driver": "file", "filename": overlay.path},
                    "backing": None,
                },
                covers=(added,),
                undo=(Undo(UndoKind.REMOVE_OVERLAY, overlay.disk),),
                timeout_s=_ADD_TIMEOUT_S,
            )

    def captured(self, resolution: Resolution, disks: Collection[str]) -> Iterator[DiskCapture]:
        """The overlay is put on the disk's image."""
        for overlay in resolution.overlays:
            if overlay.disk in disks:
                data = {"node": overlay.node, "overlay": overlay.overlay}
                yield DiskCapture(
                    {"type": "blockdev-snapshot", "data": data},
                    Operation(Kind.SWITCH_TO_OVERLAY, disk=overlay.disk),
                    Undo(UndoKind.REMOVE_OVERLAY, overlay.disk),
                )

    def looks_at_chains(self, resolution: Resolution) -> bool:
        """Whether a disk lies on its overlay is seen there."""
        return bool(resolution.overlays)

    def confirmed(self, resolution: Resolution, shown: Shown) -> Iterator[ShownOverlay]:
        """Each disk lies on its overlay, and that right on the image that was to be frozen."""
        for overlay in resolution.overlays:
            yield _shown(overlay, shown.disks.get(overlay.disk))


def _shown(overlay: Overlay, disk: Disk | None) -> ShownOverlay:
    base = disk.backing[0] if disk is not None and disk.backing else None
    if disk is None or base is None or disk.node != overlay.overlay:
        raise NotShown("part-count", f"{overlay.disk} is not on its overlay {overlay.path}")
    if base.filename != overlay.base_file:
        words = f"under {overlay.disk}'s overlay lies {base.filename}, another image"
        raise NotShown("part-count", words)
    return ShownOverlay(
        overlay.disk,
        overlay.node,
        overlay.base_file,
        overlay.base_format,
        overlay.overlay,
        overlay.path,
        overlay.size_bytes,
        disk.chain,
    )
