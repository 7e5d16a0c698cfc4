"""What makes files and changes sizes in the lockstep: `blockdev-create`, `drive-backup`, `block_resize`.

Among all that the other sequences draw, so that a file is open, overwritten, under an overlay or in a
copy, and a size is another one when a snapshot is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from planner.experiment.lockstep.drawing import (
    DRIVE_NODE,
    NODES,
    OVERLAY_ON,
    OVERLAYS,
    Arguments,
    Command,
    Sequence,
)

__all__ = ["ImageSequence"]

MIB = 2**20
FILES = ("m0", "m1", *OVERLAYS)
SIZES = (4 * MIB, 8 * MIB, 8 * MIB, 12 * MIB, 16 * MIB, -1, 5 * MIB + 1, 6 * MIB + 512)
"""Not so small that a copy which is to be slow ends at once."""
RESIZED = ("disk0", "disk1", "back0", "raw0", "thr0", "free0", "thr0-format", DRIVE_NODE, *OVERLAYS)

ODD = tuple(node for node in NODES if node != "disk0-file")


class ImageSequence(Sequence):
    """Draws commands that make or resize images, and every other one."""

    FILES = FILES

    def _kinds(self) -> list[Callable[[], Command]]:
        own: list[Callable[[], Command]] = [self._create, self._new_overlay, self._new_overlay]
        own += [self._open_made] + [self._resize] * 3 + [self._drive_backup] * 3
        return super()._kinds() + own * 4

    def _action(self) -> Arguments:
        roll = self.random.random()
        return {"type": "drive-backup", "data": self._copy()} if roll < 0.25 else super()._action()

    def _transaction(self) -> Command:
        command, arguments = super()._transaction()
        if (
            "properties" in arguments
        ):  # copies that end together would wait for one that does not end
            for action in arguments["actions"]:
                action["data"].pop("speed", None)
        return command, arguments

    def _resize(self) -> Command:
        """A disk, or something that is none."""
        arguments: Arguments = {"size": self.random.choice(SIZES)}
        if self.random.random() < 0.2:
            arguments["device"] = self.random.choice(("drv0", "disk0", "nope"))
        else:
            names = RESIZED if self.random.random() < 0.85 else (*NODES, "m0-file", "m0")
            arguments["node-name"] = self.random.choice(names)
        return "block_resize", arguments

    def _drive_backup(self) -> Command:
        """A copy by itself."""
        arguments = self._copy()
        if self.random.random() < 0.3 and not arguments.get("speed"):
            self._queue.append(("job-dismiss", {"id": arguments.get("job-id", "drv0")}))
        return "drive-backup", arguments

    def _copy(self) -> Arguments:
        """Into a file of its own, or one that is there."""
        devices = ("disk0", "disk1", "drv0", "raw0", "thr0", "back0")
        device = self.random.choice(devices if self.random.random() < 0.9 else ODD)
        _, arguments = self._job("drive-backup", device=device, sync="full")
        if device == "drv0" and self.random.random() < 0.3:
            del arguments["job-id"]
        if arguments.get("job-id") == "":  # which the model takes for one that is left out
            arguments["job-id"] = "1x"
        file = self._file() if self.random.random() < 0.4 else f"@DIR@/copy{self._jobs}"
        arguments["target"] = file
        more: dict[str, Any] = {"format": "qcow2", "auto-dismiss": False, "speed": 1}
        for (member, value), chance in zip(more.items(), (0.8, 0.6, 0.3), strict=True):
            if self.random.random() < chance:
                arguments[member] = value
        if arguments.get("speed"):
            self._queue.append(("job-cancel", {"id": arguments.get("job-id", "drv0")}))
        return arguments

    def _file(self) -> str:
        """One that may be there, and may be open."""
        if self.random.random() < 0.1:
            return "@DIR@/disk0.qcow2"
        return f"@DIR@/{self.random.choice(FILES)}.qcow2"

    def _create(self) -> Command:
        """A file, or an image in a node."""
        size = self.random.choice(SIZES)
        options: Arguments = {
            "driver": "file",
            "filename": self._file(),
            "size": self.random.choice((0, size)),
        }
        if self.random.random() < 0.5:
            node = self.random.choice((*(f"{name}-file" for name in FILES[:2]), *NODES))
            options = {"driver": "qcow2", "file": node, "size": size}
        return self._job("blockdev-create", options=options)

    def _new_overlay(self) -> Command:
        """An overlay made without qemu-img, step by step, with other commands between."""
        name = self.random.choice(FILES[:2])
        first = self._job("blockdev-create", options=self._made_file(name))
        file = f"{name}-file"
        image = {"driver": "qcow2", "file": file, "size": self.random.choice(SIZES[:5])}
        opened = {"driver": "file", "node-name": file, "filename": f"@DIR@/{name}.qcow2"}
        self._queue += [
            ("blockdev-add", opened),
            self._job("blockdev-create", options=image),
            self._of_made(name),
            self._put_overlay(self.random.choice(OVERLAY_ON), name),
        ]
        self._queue += [("blockdev-del", {"node-name": each}) for each in (name, file)]
        return first

    def _made_file(self, name: str) -> Arguments:
        return {"driver": "file", "filename": f"@DIR@/{name}.qcow2", "size": 0}

    def _of_made(self, name: str) -> Command:
        options = {"driver": "qcow2", "node-name": name, "file": f"{name}-file", "backing": None}
        return "blockdev-add", options

    def _open_made(self) -> Command:
        return self._of_made(self.random.choice(FILES[:2]))
