"""New images made of old ones, for a restore that is to lose nothing.  The old ones are only read."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path

from attrs import define, field

from backends.by_descriptor import Folder, name_of, open_file
from backends.host import QemuHost
from backends.new_overlays import CLONE_OVERLAYS, clone_overlay
from backends.nodes import chain_told, json_name, secret_options
from planner.model.image_key import NO_KEYS, Keys
from planner.run.ports import HostRefused

__all__ = ["RestoringHost"]

_Told = Mapping[str, object]
_TRIES = 10


@define
class RestoringHost(QemuHost):
    """A `QemuHost` that makes copies as well; each is private until it is whole, and lasts then.

    - ``convert-snapshot`` (path, source, snapshot-id, backing): what a snapshot's disk held, as a new
      qcow2; what lies under the source: file and format of each, absent where nobody wrote it down.
    - ``copy-image`` (path, source): the image with all its snapshots.
    - ``remove-copy`` (path): removes one that was made here, in this run.
    - what `backends.new_overlays` does for clones.

    Attributes:
        keys: What opens the images that are encrypted, by file.  What is made of one is encrypted with
            the same secret.
    """

    keys: Keys = NO_KEYS
    _copies: dict[str, tuple[int, int]] = field(factory=dict)

    def _do(self, instruction: str, path: Path, arguments: _Told) -> _Told:
        if instruction in CLONE_OVERLAYS:
            return clone_overlay(instruction, path, arguments)
        if instruction == "remove-copy":
            return self._remove_copy(path)
        if instruction not in ("convert-snapshot", "copy-image"):
            return super()._do(instruction, path, arguments)
        self._make_copy(path, Path(str(arguments["source"])), arguments)
        return {}

    def _make_copy(self, path: Path, source: Path, arguments: _Told) -> None:
        temporary = f".{path.name}.snapplan"
        image = open_file(source)
        try:
            with Folder(path.parent) as folder:
                if folder.look(path.name) is not None:
                    raise HostRefused("file-exists", f"{path} exists, and is not overwritten")
                descriptor = folder.create(temporary)
                try:
                    self._fill(descriptor, image, source, arguments)
                    owner = os.fstat(image)
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(owner.st_mode))
                    os.fsync(descriptor)
                    folder.link(descriptor, path.name)
                    made = os.fstat(descriptor)
                    self._copies[str(path)] = (made.st_dev, made.st_ino)
                finally:
                    os.close(descriptor)
                    folder.remove(temporary)
                folder.sync()
        finally:
            os.close(image)

    def _fill(self, descriptor: int, image: int, source: Path, arguments: _Told) -> None:
        snapshot_id = arguments.get("snapshot-id")
        if snapshot_id is None:
            shutil.copyfile(name_of(image), name_of(descriptor))
            return
        chain = chain_told(arguments.get("backing"))
        files = [str(source), *(file for file, _ in chain or ())]
        own = self.keys.get(str(source))
        made = () if own is None else ("-o", f"encrypt.format=luks,encrypt.key-secret={own.id}")
        secrets = secret_options("--object", [self.keys[f] for f in files if f in self.keys])
        words = (
            *("convert", "-q", *secrets, "-O", "qcow2", *made),
            *("-l", f"snapshot.id={snapshot_id}", "--"),
            json_name(str(source), "qcow2", chain, self.keys),
            name_of(descriptor),
        )
        for tries_left in reversed(range(_TRIES)):
            try:
                self._qemu_img(*words, descriptors=(descriptor,))
            except HostRefused as failed:
                # A LUKS key takes as long as is measured, which fails by chance on a busy machine.
                if not (own and tries_left and "accurate CPU usage" in str(failed)):
                    raise
            else:
                return

    def _remove_copy(self, path: Path) -> _Told:
        made = self._copies.pop(str(path), None)
        if made is None:
            return {"removed": False}
        with Folder(path.parent) as folder:
            found = folder.look(path.name)
            if found is None:
                return {"removed": False}
            if (found.st_dev, found.st_ino) != made:
                raise HostRefused("file-differs", f"{path} is no file that was made here")
            folder.remove(path.name)
            folder.sync()
        return {"removed": True}
