"""Overlays that are merged into their frozen images: looked at first, and changed only on proof.

An overlay that was merged once is stale: the guest has gone on writing to the image, and merging it once
more would put old content over new.  So each instruction names what it goes by: that the image was not
written to since it was frozen, that the overlay was written to after it, or that both read the same.
What cannot be proved stays.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import frozen

from backends.by_descriptor import name_of, open_file
from backends.images import run_qemu_img
from backends.left_overlays import KeptSinceStart, merged_by_its_qemu, nobody_knows
from backends.locks import is_open, openings_that_forbid_writing
from backends.neighbours import lying_over
from backends.nodes import chain_told, image_node, json_name
from backends.writable import must_be_writable
from planner.run.ports import HostRefused, NoReply

__all__ = ["MERGES", "Merges"]

_Told = Mapping[str, object]
_BLOCK_BYTES = 512

MERGES = ("look-before-merge", "merge-overlay", "note-overlay", "remove-merged", "remove-if-equal")


@frozen
class Merges:
    """The instructions of `backends.host.QemuHost` about merging.

    - ``look-before-merge`` (path, base, base-format, base-backing, online, evidence): refuses what would
      fail, or harm, later.
    - ``merge-overlay`` (path, base, base-format, base-backing, evidence): writes what it holds into the
      base, and removes it; only for a QEMU that is gone, which qemu-img's lock makes sure of.
    - ``note-overlay`` (path): tells which file it is, as it is now, so that just that one is removed.
    - ``remove-merged`` (path, base, seen): removes it, if it is the file that was seen.
    - ``remove-if-equal`` (path, base, base-format, base-backing): removes it, if the base reads the
      same.

    The last and ``merge-overlay`` remove it as well where its own QEMU has merged it
    (`backends.left_overlays`).

    Evidence is ``written-ns`` and ``frozen-ns`` of `planner.parts.deletions.MergedOverlay`; where
    both are 0 or not given, the times of the files are compared.  Each but the first is done already
    where the overlay is not there.  ``base-backing`` is what lies under the base: file and format of
    each image, absent where nobody wrote it down.

    Attributes:
        program: Path or name of qemu-img; empty: the usual one.
        open_overlay: Opens an overlay; raises where it does not lie over this base.
        remove: Removes an overlay that is over this base.
        kept: What tells whether its own QEMU has merged it.
    """

    program: str
    open_overlay: Callable[[Path, str], int]
    remove: Callable[[Path, str], _Told]
    kept: KeptSinceStart = nobody_knows

    def do(self, instruction: str, path: Path, base: str, arguments: _Told) -> _Told:
        """Do one of them."""
        if not base.startswith("/"):
            return self._over_served(instruction, path, base, arguments)
        if not os.path.lexists(path) and instruction != "look-before-merge":
            return {} if instruction == "note-overlay" else self.remove(path, base)
        overlay = self.open_overlay(path, base)
        try:
            if instruction == "note-overlay":
                return _identity(os.fstat(overlay))
            below = open_file(Path(base))
            try:
                files = _Files(path, Path(base), overlay, below)
                if instruction == "look-before-merge":
                    return self._look(files, arguments)
                self._settle(instruction, files, arguments)
                os.fsync(below)  # what was merged lasts before the overlay goes
            finally:
                os.close(below)
        finally:
            os.close(overlay)
        return self.remove(path, base)

    def _over_served(self, instruction: str, path: Path, base: str, arguments: _Told) -> _Told:
        """The same over an image that another program serves: QEMU merges, and nothing is read here."""
        if not os.path.lexists(path) and instruction != "look-before-merge":
            return {} if instruction == "note-overlay" else self.remove(path, base)
        overlay = self.open_overlay(path, base)
        try:
            found = os.fstat(overlay)
            if instruction == "note-overlay":
                return _identity(found)
            if instruction == "look-before-merge" and arguments.get("online"):
                _must_be_removable(path, found)
                return {}
            if instruction != "remove-merged":
                words = (
                    f"{base} is no file of this machine: no lock tells whether a QEMU has it open"
                )
                raise HostRefused("image-no-file", words)
            _must_be_seen(path, found, arguments)
        finally:
            os.close(overlay)
        return self.remove(path, base)

    def _settle(self, instruction: str, files: _Files, arguments: _Told) -> None:
        """Have the overlay hold nothing that the base lacks, or raise."""
        files.must_be_closed(files.overlay, files.path)
        if instruction == "remove-merged":
            _must_be_seen(files.path, os.fstat(files.overlay), arguments)
        elif merged_by_its_qemu(files.path, files.base, files.below, self.kept):
            return
        elif instruction == "merge-overlay" and files.proof(arguments):
            self._qemu_img(files, "commit", "-q", "-d", "--", files.names(arguments)[0])
        elif not self._equal(files, arguments):
            raise HostRefused("overlay-unproved", files.doubt(arguments))

    def _equal(self, files: _Files, arguments: _Told) -> bool:
        said = self._qemu_img(files, "compare", "--", *files.names(arguments), ends=(0, 1))
        return "Images are identical." in said

    def _qemu_img(self, files: _Files, *arguments: str, ends: tuple[int, ...] = (0,)) -> str:
        descriptors = (files.overlay, files.below)
        try:
            return run_qemu_img(self.program, *arguments, ends=ends, descriptors=descriptors)
        except NoReply as failed:
            raise HostRefused("qemu-img-failed", f"qemu-img says: {failed}") from failed

    def _look(self, files: _Files, arguments: _Told) -> _Told:
        online = bool(arguments.get("online"))
        if online:
            _must_be_shared(files)
        else:
            files.must_be_closed(files.overlay, files.path)
            files.must_be_closed(files.below, files.base)
            if not files.proof(arguments) and not self._equal(files, arguments):
                raise HostRefused("overlay-unproved", files.doubt(arguments))
        for other, below in lying_over(files.path, files.base):
            raise HostRefused("part-needed", f"{other} lies over {below}, and would be destroyed")
        must_be_writable(files.base, by_us=not online)
        _must_be_removable(files.path, os.fstat(files.overlay))
        _must_have_room(files, str(arguments.get("base-format")))
        return {}


@frozen
class _Files:
    """An overlay and the image under it, both open for reading.

    Attributes:
        path: The overlay's name.
        base: The image's.
        overlay: The overlay.
        below: The image.
    """

    path: Path
    base: Path
    overlay: int
    below: int

    def names(self, arguments: _Told) -> tuple[str, str]:
        """Overlay and base for qemu-img, with every format down the chain: nothing is probed."""
        base_format = str(arguments.get("base-format") or "raw")
        below = chain_told(arguments.get("base-backing"))
        # A header that is followed may name what lies in the base's own folder.
        follows = below is None and base_format != "raw"
        base = str(self.base) if follows else name_of(self.below)
        node = image_node(name_of(self.overlay), "qcow2", ())
        node["backing"] = image_node(base, base_format, below)
        return "json:" + json.dumps(node), json_name(base, base_format, below)

    def must_be_closed(self, descriptor: int, name: Path) -> None:
        """Raise where a QEMU has a file open."""
        if is_open(descriptor):
            raise HostRefused("image-in-use", f"{name} is open in a QEMU")

    def proof(self, arguments: _Told) -> bool:
        """Whether the base is known to hold nothing that the overlay lacks.

        It was not written to since it was frozen, where that time is known: as its file said it, else
        by the clock of whoever froze it.  Elsewhere the overlay was written to after it.
        """
        found = os.fstat(self.below)
        if not stat.S_ISREG(found.st_mode):
            return False  # a block device's times say nothing of what is written to it
        found_ns = found.st_mtime_ns
        written_ns, frozen_ns = arguments.get("written-ns"), arguments.get("frozen-ns")
        if isinstance(written_ns, int) and written_ns:
            return found_ns == written_ns
        if isinstance(frozen_ns, int) and frozen_ns:
            return found_ns <= frozen_ns
        return os.fstat(self.overlay).st_mtime_ns > found_ns

    def doubt(self, arguments: _Told) -> str:
        """Why the overlay may be stale."""
        if not stat.S_ISREG(os.fstat(self.below).st_mode):
            return (
                f"{self.base} is a block device, which does not show whether it was written to since it "
                f"was frozen under {self.path}"
            )
        if arguments.get("written-ns") or arguments.get("frozen-ns"):
            return f"{self.base} was written to since it was frozen under {self.path}"
        return f"{self.base} differs, and may hold what the guest wrote after it was merged already"


def _identity(found: os.stat_result) -> dict[str, object]:
    return {
        "device": found.st_dev,
        "inode": found.st_ino,
        "size": found.st_size,
        "mtime-ns": found.st_mtime_ns,
    }


def _must_be_shared(files: _Files) -> None:
    """QEMU itself holds the base once, under the overlay; a second one would refuse the merge."""
    if openings_that_forbid_writing(os.fstat(files.below)) > 1:
        words = f"another QEMU has {files.base} open under a disk of its own, and keeps it from changing"
        raise HostRefused("image-in-use", words)


def _must_be_seen(path: Path, found: os.stat_result, arguments: _Told) -> None:
    if _identity(found) != arguments.get("seen"):
        raise HostRefused("file-differs", f"{path} was written to since it was merged")


def _must_be_removable(path: Path, overlay: os.stat_result) -> None:
    folder = path.parent
    found = folder.stat()
    foreign = os.geteuid() not in (0, found.st_uid, overlay.st_uid)
    if not os.access(folder, os.W_OK | os.X_OK) or (found.st_mode & stat.S_ISVTX and foreign):
        words = f"nothing can be removed from {folder}: {path} would stay when it is merged"
        raise HostRefused("file-unwritable", words)


def _must_have_room(files: _Files, format_: str) -> None:
    """The base grows by what the overlay holds, at the most."""
    needed = os.fstat(files.overlay).st_blocks * _BLOCK_BYTES
    own = os.fstat(files.below)
    if format_ == "raw":
        needed = min(needed, max(own.st_size - own.st_blocks * _BLOCK_BYTES, 0))
    free = shutil.disk_usage(name_of(files.below)).free
    if stat.S_ISREG(own.st_mode) and needed > free:
        words = f"{files.base} may grow by {needed} bytes, and {free} are free on its file system"
        raise HostRefused("no-room", words)
