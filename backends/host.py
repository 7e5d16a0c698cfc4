"""Files beside the VM's images, on the machine that QEMU runs on: overlays and streams.

Rules: a new file is made under a temporary name in the same folder and gets its own name by a hard link,
which never replaces a file; it is written back to the disk, and the folder too, before anybody relies on
it.  A stream is 0600 from its first byte, an overlay has the mode and the owner of its base.  What is
removed is looked at first: an overlay must name our base as its backing file, a stream must be the file
that its temporary name meant.  Arguments of qemu-img are a list, never a shell line.

The folder may be another user's, who may swap any name in it at any time.  So names are looked up in
the folder as it was opened, and files are written, changed and linked by descriptor
(`backends.by_descriptor`).
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from attrs import define, field

from backends.by_descriptor import Folder, name_of, open_file, same_file
from backends.digest import Digester, cache_keeps_bytes
from backends.disk_copies import DISK_COPIES, DiskCopies
from backends.drops import DROPS, Drops
from backends.flush import Flusher, Reopener, flush, kernel_begins_at_bytes
from backends.images import run_qemu_img
from backends.left_overlays import KeptSinceStart, nobody_knows
from backends.made import MADE, do_made
from backends.merges import MERGES, Merges
from backends.refusing import refusal_of, with_path
from backends.saves import complete_save, mean_one_file
from backends.vmstate_images import VMSTATE_IMAGES, VmstateImages
from backends.writable import must_be_unused, must_be_writable
from planner.host.absence import whether_there
from planner.host.evidence import digest_of
from planner.host.file_locks import is_locked
from planner.run.ports import HostRefused, NoReply

__all__ = ["QemuHost"]

_Told = Mapping[str, object]
_MODE_MASK = 0o666  # an image is no program, whatever its base is


@define
class QemuHost:
    """A `planner.run.ports.Host` on this machine's files.

    Instructions, each with its arguments and what it tells:

    - ``create-overlay`` (path, base, base-format, size): an empty qcow2 over the base.
    - ``remove-overlay`` (path, base): removes it, if it is there, over this base, and nobody has it
      open.
    - what `backends.disk_copies.DiskCopies` does about copies of disks.
    - what `backends.merges.Merges` does about overlays that are merged into their bases, and
      `backends.drops.Drops` about files that a restore has made, `backends.made` about a template's.
    - ``create-stream`` (path, temporary, mapped, libvirt): an empty file, kept open for `descriptor`;
      mapped: QEMU writes to it in any order; libvirt: it gets libvirt's header, which is completed at
      the end: so nothing of it can be read before.
    - ``keep-stream`` (path, temporary, libvirt): completes libvirt's header, which has the overlay
      that a restore opens for each image that was frozen; gives it its name; tells its ``size`` in
      bytes and the ``sha256`` of its content, which is read from the page cache (`backends.digest`).
    - what `backends.vmstate_images` does about images of machine state (path, temporary).
    - ``look-before-write`` (path): refuses an image that cannot be written to, or that a QEMU has open.
    - ``is-there`` (path): whether something of that name is ``there``; where it is not, whether it is
      ``gone`` (`planner.host.absence`).
    - ``look-at-open`` (path): what a qcow2 image's header says, as ``info``; a QEMU may have it open.
    - ``flush-images`` (paths): writes back what the kernel holds of these images; best effort.
    - ``flush-while-streaming`` (paths, temporary): the same again and again, and of the open stream,
      once that is large (`backends.flush`), until it is named or removed.
    - ``end-flushing`` (temporary): ends that, without waiting for a flush under way, and all else
      that is done beside a stream: the guest stands still.
    - ``remove-stream`` (path, temporary, named): removes it, by the name that it has.

    Attributes:
        program: Path or name of qemu-img; empty: the usual one.
        kept: What tells of a QEMU whether it has an image open since it was started.
    """

    program: str = ""
    kept: KeptSinceStart = nobody_knows
    _open: dict[str, int] = field(factory=dict)
    _passed: dict[str, int] = field(factory=dict)
    _flushing: dict[str, Flusher] = field(factory=dict)
    _reopening: dict[str, Reopener] = field(factory=dict)
    _digesting: dict[str, Digester] = field(factory=dict)

    async def do(
        self, instruction: str, arguments: Mapping[str, object], timeout_s: float
    ) -> _Told:
        """Do one thing; see `planner.run.ports.Host.do`."""
        temporary = arguments.get("temporary")
        if isinstance(temporary, str) and temporary:
            arguments = {**arguments, "temporary": str(Path(temporary))}  # in one spelling
        if instruction == "end-flushing":
            self._stop_flusher(_text(arguments, "temporary"))
            return {}
        if instruction in ("flush-images", "flush-while-streaming"):
            return await self._in_time(timeout_s, instruction, lambda: self._flush(arguments))
        path = Path(_text(arguments, "path"))
        if not path.is_absolute():
            raise HostRefused("path-not-absolute", f"{path} is no absolute path")
        try:
            return await self._in_time(
                timeout_s, instruction, lambda: self._do(instruction, path, arguments)
            )
        except OSError as error:
            raise refusal_of(instruction, path, error) from error
        except HostRefused as refused:
            raise with_path(instruction, path, refused) from refused

    async def _in_time(
        self, timeout_s: float, instruction: str, work: Callable[[], _Told]
    ) -> _Told:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(work)
        except TimeoutError as error:
            raise NoReply(f"{instruction} did not end within {timeout_s:g} s") from error

    def _do(self, instruction: str, path: Path, arguments: _Told) -> _Told:
        if instruction in ("create-overlay", "remove-overlay", *MERGES, *DROPS):
            return self._over_base(instruction, path, _text(arguments, "base"), arguments)
        if instruction == "look-before-write":
            must_be_unused(path)
            must_be_writable(path)
            return {}
        if instruction in ("is-there", "look-at-open"):
            return self._look(instruction, path)
        if instruction in MADE:
            return do_made(instruction, path, arguments)
        temporary = Path(_text(arguments, "temporary"))
        if temporary.parent != path.parent:
            raise HostRefused("path-differs", f"{temporary} is not beside {path}")
        if instruction in (*VMSTATE_IMAGES, *DISK_COPIES):
            return self._image(instruction, path, temporary, arguments)
        if instruction == "create-stream":
            later = bool(arguments.get("mapped") or arguments.get("libvirt"))
            return self._create_stream(path, temporary, grows=not later)
        if instruction == "keep-stream":
            return self._keep_stream(path, temporary, arguments.get("libvirt"))
        if instruction == "remove-stream":
            return self._remove_stream(path, temporary, named=bool(arguments.get("named")))
        raise HostRefused("instruction-unknown", f"the host cannot {instruction!r}")

    def _look(self, instruction: str, path: Path) -> _Told:
        if instruction == "look-at-open":
            descriptor = open_file(path)
            try:
                return {"info": json.loads(self._header(descriptor))}
            except ValueError as error:
                raise NoReply(f"qemu-img says no JSON: {error}") from error
            finally:
                os.close(descriptor)
        return {"there": os.path.lexists(path), "gone": whether_there(str(path)) is False}

    def _over_base(self, instruction: str, path: Path, base: str, arguments: _Told) -> _Told:
        if instruction == "create-overlay":
            return self._create_overlay(path, base, arguments)
        if instruction == "remove-overlay":
            return self._remove_overlay(path, base)
        if instruction in DROPS:
            return Drops(self._opened_overlay).do(instruction, path, base, arguments)
        merges = Merges(self.program, self._opened_overlay, self._remove_overlay, self.kept)
        return merges.do(instruction, path, base, arguments)

    def _image(self, instruction: str, path: Path, temporary: Path, arguments: _Told) -> _Told:
        if instruction in DISK_COPIES:
            return DiskCopies(self._qemu_img).do(instruction, path, temporary, arguments)
        images = VmstateImages(self._qemu_img, self._open, self._passed)
        return images.do(instruction, path, temporary)

    def descriptor(self, temporary: str) -> int:
        """The descriptor of an open stream; see `planner.run.ports.Host.descriptor`."""
        passed = self._passed.get(str(Path(temporary)))
        if passed is None:
            raise HostRefused("file-unreadable", f"{temporary} is not open here")
        return passed

    def _flush(self, arguments: _Told) -> _Told:
        paths = arguments.get("paths")
        images = (
            [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
        )
        temporary = arguments.get("temporary")
        if temporary is None:
            flush(images)
        elif isinstance(temporary, str) and temporary not in self._flushing:
            self._flushing[temporary] = Flusher(temporary, images, kernel_begins_at_bytes())
        return {}

    def _stop_flusher(self, temporary: str) -> None:
        for worker in (self._flushing.get(temporary), self._digesting.get(temporary)):
            if worker is not None:
                worker.stop()

    def _create_overlay(self, path: Path, base: str, arguments: _Told) -> _Told:
        owner = _owner_of_overlay(base) if base.startswith("/") else None
        temporary = f".{path.name}.snapplan"
        with Folder(path.parent) as folder:
            _must_be_absent(folder, path)
            descriptor = folder.create(temporary)
            try:
                self._qemu_img(
                    # -u: the base is not opened; what it needs of it, the size, it is told.
                    *("create", "-q", "-u", "-f", "qcow2", "-F", _text(arguments, "base-format")),
                    *("-b", base, "--", name_of(descriptor), str(arguments["size"])),
                    descriptors=(descriptor,),
                )
                if owner is not None:  # an image that another program serves has none here
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                    os.fchmod(descriptor, stat.S_IMODE(owner.st_mode) & _MODE_MASK)
                os.fsync(descriptor)
                folder.link(descriptor, path.name)
            finally:
                os.close(descriptor)
                folder.remove(temporary)
            folder.sync()
        return {}

    def _remove_overlay(self, path: Path, base: str) -> _Told:
        with Folder(path.parent) as folder:
            left_over = folder.remove(f".{path.name}.snapplan")
            if folder.look(path.name) is None:
                return {"removed": left_over}
            descriptor = self._open_overlay(folder, path, base)
            try:
                if is_locked(name_of(descriptor)):
                    raise HostRefused("image-in-use", f"another program has {path} open")
            finally:
                os.close(descriptor)
            folder.remove(path.name)
            folder.sync()
        return {"removed": True}

    def _opened_overlay(self, path: Path, base: str) -> int:
        with Folder(path.parent) as folder:
            return self._open_overlay(folder, path, base)

    def _open_overlay(self, folder: Folder, path: Path, base: str) -> int:
        """The overlay, open: it is a file, and lies over our base."""
        found = folder.look(path.name)
        if found is None or not stat.S_ISREG(found.st_mode):
            raise HostRefused("file-differs", f"{path} is no file that was made here")
        descriptor = folder.open(path.name)
        try:
            _must_be_over(self._header(descriptor), path, base)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _create_stream(self, path: Path, temporary: Path, *, grows: bool) -> _Told:
        with Folder(path.parent) as folder:
            _must_be_absent(folder, path)
            descriptor = folder.create(temporary.name)
        self._open[str(temporary)] = descriptor
        self._passed[str(temporary)] = os.open(name_of(descriptor), os.O_WRONLY | os.O_CLOEXEC)
        self._reopening[str(temporary)] = Reopener(descriptor, str(temporary))
        if grows:
            self._digesting[str(temporary)] = Digester(descriptor, cache_keeps_bytes())
        return {}

    def _keep_stream(self, path: Path, temporary: Path, overlays: object) -> _Told:
        with Folder(path.parent) as folder:
            descriptor = folder.open(temporary.name)
            try:
                stream = os.fstat(descriptor)
                self._must_be_ours(temporary, stream)
                if isinstance(overlays, Mapping):
                    complete_save(descriptor, overlays)
                os.fsync(descriptor)
                size = os.fstat(descriptor).st_size
                if not size:
                    raise HostRefused("stream-empty", f"QEMU wrote nothing to {temporary}")
                digest = self._digest(temporary, descriptor)
                folder.link(descriptor, path.name)
            finally:
                os.close(descriptor)
            folder.remove(temporary.name)
            self._close(temporary)
            folder.sync()
        return {"size": size, "sha256": digest}

    def _digest(self, temporary: Path, descriptor: int) -> str:
        """The digest of a stream that is whole; what was read while it was written is not read again."""
        digester = self._digesting.pop(str(temporary), None)
        return digest_of(descriptor) if digester is None else digester.finish()

    def _must_be_ours(self, temporary: Path, stream: os.stat_result) -> None:
        """The file under a temporary name is the one that was made here, where that is known."""
        made = self._open.get(str(temporary))
        if made is not None and not same_file(os.fstat(made), stream):
            raise HostRefused(
                "file-differs", f"{temporary} is no longer the file that was made here"
            )

    def _remove_stream(self, path: Path, temporary: Path, *, named: bool) -> _Told:
        self._close(temporary)
        with Folder(path.parent) as folder:
            found, unnamed = folder.look(path.name), folder.look(temporary.name)
            # While both names are there, they must mean one file; else the name is somebody else's.
            own = found is not None and (named if unnamed is None else same_file(found, unnamed))
            if own:
                folder.remove(path.name)
            removed = folder.remove(temporary.name) or own
            if removed:
                folder.sync()
        return {"removed": removed}

    def _close(self, temporary: Path) -> None:
        for workers in (self._flushing, self._reopening, self._digesting):
            worker = workers.pop(str(temporary), None)
            if worker is not None:
                worker.end()
        for kept in (self._passed, self._open):
            descriptor = kept.pop(str(temporary), None)
            if descriptor is not None:
                os.close(descriptor)

    def _header(self, descriptor: int) -> str:
        """What the header of a qcow2 image says (JSON); a QEMU may have it open: only that is read."""
        words = ("info", "-U", "--output=json", "-f", "qcow2", "--", name_of(descriptor))
        return self._qemu_img(*words, descriptors=(descriptor,))

    def _qemu_img(self, *arguments: str, descriptors: Sequence[int] = ()) -> str:
        try:
            return run_qemu_img(self.program, *arguments, descriptors=descriptors)
        except NoReply as failed:
            raise HostRefused("qemu-img-failed", f"qemu-img says: {failed}") from failed


def _text(arguments: _Told, key: str) -> str:
    value = arguments.get(key)
    if not isinstance(value, str) or not value:
        raise HostRefused("arguments-malformed", f"{key} is {value!r}")
    return value


def _must_be_absent(folder: Folder, path: Path) -> None:
    if folder.look(path.name) is not None:
        raise HostRefused("file-exists", f"{path} exists, and is not overwritten")


def _owner_of_overlay(base: str) -> os.stat_result:
    """Whom an overlay belongs to, and who may open it: as its base."""
    try:
        descriptor = open_file(Path(base))
    except OSError as error:
        why = error.strerror or str(error)
        raise HostRefused("base-not-a-file", f"{base}: {why}") from error
    try:
        owner = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    return owner


def _must_be_over(told: str, path: Path, base: str) -> None:
    try:
        backing = json.loads(told).get("backing-filename")
    except (ValueError, AttributeError) as error:
        raise HostRefused("file-differs", f"{path} cannot be read: {error}") from error
    if backing != base and not mean_one_file(backing, base):
        raise HostRefused("file-differs", f"{path} is over {backing!r}, not over {base}")
