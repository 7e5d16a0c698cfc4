"""Files beside the VM's images, on the machine that QEMU runs on: overlays and streams.

Rules: a new file is made under a temporary name in the same folder and gets its own name by a hard link,
which never replaces a file; it is written back to the disk, and the folder too, before anybody relies on
it.  A stream is 0600 from its first byte, an overlay has the mode and the owner of its base.  What is
removed is looked at first: an overlay must name our base as its backing file, a stream must be the file
that its temporary name meant.  Arguments of qemu-img are a list, never a shell line.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from attrs import define, field

from backends.flush import Flusher, Reopener, flush, kernel_begins_at_bytes
from backends.images import run_qemu_img
from planner.execute.ports import HostRefused, NoReply

__all__ = ["QemuHost"]

_Told = Mapping[str, object]


@define
class QemuHost:
    """A `planner.execute.ports.Host` on this machine's files.

    Instructions, each with its arguments and what it tells:

    - ``create-overlay`` (path, base, base-format, size): an empty qcow2 over the base.
    - ``remove-overlay`` (path, base): removes it, if it is there and over this base.
    - ``merge-overlay`` (path, base, base-format): writes what it holds into the base first; only for
      a QEMU that is gone, which qemu-img's lock makes sure of.
    - ``create-stream`` (path, temporary): an empty file, kept open for `descriptor`.
    - ``keep-stream`` (path, temporary): gives it its name; tells its ``size`` in bytes.
    - ``is-there`` (path): whether something of that name is ``there``.
    - ``flush-images`` (paths): writes back what the kernel holds of these images; best effort.
    - ``flush-while-streaming`` (paths, temporary): the same again and again, and of the open stream,
      once that is large (`backends.flush`), until it is named or removed.
    - ``end-flushing`` (temporary): ends that, without waiting for a flush under way.
    - ``remove-stream`` (path, temporary, named): removes it, by the name that it has.
    """

    program: str = ""
    _open: dict[str, int] = field(factory=dict)
    _flushing: dict[str, Flusher] = field(factory=dict)
    _reopening: dict[str, Reopener] = field(factory=dict)

    async def do(
        self, instruction: str, arguments: Mapping[str, object], timeout_s: float
    ) -> _Told:
        """Do one thing; see `planner.execute.ports.Host.do`."""
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
            why = error.strerror or str(error)
            raise HostRefused(_code(error), f"{error.filename or path}: {why}") from error

    async def _in_time(
        self, timeout_s: float, instruction: str, work: Callable[[], _Told]
    ) -> _Told:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(work)
        except TimeoutError as error:
            raise NoReply(f"{instruction} did not end within {timeout_s:g} s") from error

    def _do(self, instruction: str, path: Path, arguments: _Told) -> _Told:
        if instruction in ("create-overlay", "remove-overlay", "merge-overlay"):
            base = Path(_text(arguments, "base"))
            if instruction == "create-overlay":
                return self._create_overlay(path, base, arguments)
            if instruction == "remove-overlay":
                return self._remove_overlay(path, base)
            return self._merge_overlay(path, base)
        if instruction == "is-there":
            return {"there": _exists(path)}
        temporary = Path(_text(arguments, "temporary"))
        if temporary.parent != path.parent:
            raise HostRefused("path-differs", f"{temporary} is not beside {path}")
        if instruction == "create-stream":
            return self._create_stream(path, temporary)
        if instruction == "keep-stream":
            return self._keep_stream(path, temporary)
        if instruction == "remove-stream":
            return self._remove_stream(path, temporary, named=bool(arguments.get("named")))
        raise HostRefused("instruction-unknown", f"the host cannot {instruction!r}")

    def descriptor(self, temporary: str) -> int:
        """The descriptor of an open stream; see `planner.execute.ports.Host.descriptor`."""
        if temporary not in self._open:
            raise HostRefused("file-unreadable", f"{temporary} is not open here")
        return self._open[temporary]

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
        flusher = self._flushing.get(temporary)
        if flusher is not None:
            flusher.stop()

    def _create_overlay(self, path: Path, base: Path, arguments: _Told) -> _Told:
        owner = base.stat()
        if not stat.S_ISREG(owner.st_mode):
            raise HostRefused("base-not-a-file", f"{base} is no regular file")
        _must_be_absent(path)
        temporary = path.with_name(f".{path.name}.snapplan")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._qemu_img(
                *("create", "-q", "-f", "qcow2", "-F", _text(arguments, "base-format")),
                *("-b", str(base), "--", str(temporary), str(arguments["size"])),
            )
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(owner.st_mode))
            os.fsync(descriptor)
            path.hardlink_to(temporary)
        finally:
            os.close(descriptor)
            _unlink(temporary)  # a qemu-img that failed has taken it away itself
        _sync_folder(path)
        return {}

    def _remove_overlay(self, path: Path, base: Path) -> _Told:
        removed = path.with_name(f".{path.name}.snapplan")
        left_over = _unlink(removed)
        if not _exists(path):
            return {"removed": left_over}
        self._must_be_over(path, base)
        path.unlink()
        _sync_folder(path)
        return {"removed": True}

    def _merge_overlay(self, path: Path, base: Path) -> _Told:
        if _exists(path):
            self._must_be_over(path, base)
            self._qemu_img("commit", "-q", "-f", "qcow2", "-d", "--", str(path))
        return self._remove_overlay(path, base)

    def _must_be_over(self, path: Path, base: Path) -> None:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise HostRefused("file-differs", f"{path} is no file that was made here")
        # -U: QEMU may have it open still; nothing is written, and only the header is read.
        told = self._qemu_img("info", "-U", "--output=json", "-f", "qcow2", "--", str(path))
        try:
            info = json.loads(told)
            backing = info.get("backing-filename")
        except (ValueError, AttributeError) as error:
            raise HostRefused("file-differs", f"{path} cannot be read: {error}") from error
        if backing != str(base):
            raise HostRefused("file-differs", f"{path} is over {backing!r}, not over {base}")

    def _create_stream(self, path: Path, temporary: Path) -> _Told:
        _must_be_absent(path)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o600)
        self._open[str(temporary)] = descriptor
        self._reopening[str(temporary)] = Reopener(descriptor, str(temporary))
        return {}

    def _keep_stream(self, path: Path, temporary: Path) -> _Told:
        descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
            size = os.fstat(descriptor).st_size
            if not size:
                raise HostRefused("stream-empty", f"QEMU wrote nothing to {temporary}")
            path.hardlink_to(temporary)
        finally:
            os.close(descriptor)
        temporary.unlink()
        self._close(temporary)
        _sync_folder(path)
        return {"size": size}

    def _remove_stream(self, path: Path, temporary: Path, *, named: bool) -> _Told:
        self._close(temporary)
        here = _exists(temporary)
        # While both names are there, they must mean one file; else the name is somebody else's.
        own = _exists(path) and (temporary.samefile(path) if here else named)
        if own:
            path.unlink()
        removed = _unlink(temporary) or own
        if removed:
            _sync_folder(path)
        return {"removed": removed}

    def _close(self, temporary: Path) -> None:
        for workers in (self._flushing, self._reopening):
            worker = workers.pop(str(temporary), None)
            if worker is not None:
                worker.end()
        descriptor = self._open.pop(str(temporary), None)
        if descriptor is not None:
            os.close(descriptor)

    def _qemu_img(self, *arguments: str) -> str:
        try:
            return run_qemu_img(self.program, *arguments)
        except NoReply as failed:
            raise HostRefused("qemu-img-failed", f"qemu-img says: {failed}") from failed


def _text(arguments: _Told, key: str) -> str:
    value = arguments.get(key)
    if not isinstance(value, str) or not value:
        raise HostRefused("arguments-malformed", f"{key} is {value!r}")
    return value


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _must_be_absent(path: Path) -> None:
    if _exists(path):
        raise HostRefused("file-exists", f"{path} exists, and is not overwritten")


def _unlink(path: Path) -> bool:
    there = _exists(path)
    path.unlink(missing_ok=True)
    return there


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _code(error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return "file-exists"
    return "file-unwritable"
