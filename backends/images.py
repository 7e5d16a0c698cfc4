"""Images of a VM that is gone, through qemu-img.

Rules: no image is probed (`backends.nodes`); arguments are a list, never a shell line; a file name comes
after ``--`` and must be the absolute path of a file or block device, since QEMU's working folder is not
ours; qemu-img's own lock keeps it away from an image that somebody still has open.  An image behind NBD
has no such lock, so it is looked at and never written to.

``qemu-img snapshot -d`` deletes the first snapshot of a name in the table's order, which is that of
``qemu-img info``, and takes no id (seen on 7.2, 10.0 and 11.1).  Where the one that is meant is not the
first, a QEMU without a guest deletes it by id and name (`backends.images_by_id`).

An encrypted image is looked at without its key, which `qemu-img info` does not need (fact 72), and
written to and checked with it alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backends.by_descriptor import name_of, open_file
from backends.images_by_id import delete_by_id
from backends.nodes import alone, secret_options
from backends.tied import tied
from planner.errors import CannotConnect
from planner.model.facts import SnapshotInfo
from planner.model.image import Image, image_of_info
from planner.model.image_key import NO_KEYS, Keys
from planner.model.replies import snapshots_of_image
from planner.run.ports import NoReply
from planner.run.stopping import to_its_end

__all__ = ["QemuImages", "qemu_img_program", "run_qemu_img"]

_TIMEOUT_S = 600.0
SERVED = ("nbd://", "nbd+unix://")
"""How a name begins that is all that is needed to open an image of another program's."""
_CHECK_ENDS = (0, 2, 3)  # qemu-img check: sound; corrupt; leaking. 1 and 63: it could not look.
_CHECK_COUNTS = ("corruptions", "check-errors", "leaks")


class QemuImages:
    """A `planner.run.ports.Images` on this machine's files.

    Args:
        program: Path or name of qemu-img; by default ``$SNAPPLAN_QEMU_IMG``, else ``qemu-img``.
        keys: What opens the images that are encrypted, by file.
    """

    def __init__(self, program: str = "", keys: Keys = NO_KEYS) -> None:
        self._program = program
        self._keys = keys

    async def snapshots(self, filename: str) -> tuple[SnapshotInfo, ...]:
        """List an image's snapshots; see `planner.run.ports.Images.snapshots`."""
        _check(filename)
        text = await self._run("info", "--output=json", "-f", "qcow2", "--", filename)
        try:
            return snapshots_of_image(json.loads(text))
        except (ValueError, RecursionError, CannotConnect) as error:
            raise NoReply(f"qemu-img's answer cannot be read: {error}") from error

    async def delete(self, filename: str, name: str, snapshot_id: str) -> None:
        """Delete a snapshot; see `planner.run.ports.Images.delete`."""
        before = await self.snapshots(filename)
        named = [snapshot.id for snapshot in before if snapshot.name == name]
        if snapshot_id not in named:
            return
        with _held(filename) as image:
            if named[0] == snapshot_id:
                await self._write(filename, image, "snapshot", "-d", name)
            else:
                await delete_by_id(image, name, snapshot_id, self._keys.get(filename))
        after = await self.snapshots(filename)
        if [snapshot for snapshot in before if snapshot.id != snapshot_id] != list(after):
            raise NoReply(f"{filename} holds other snapshots now than it should")

    async def look(self, filename: str, image_format: str) -> Image:
        """See an image; see `planner.inspect.offline.OfflineImages.look`."""
        _check(filename, served=True)
        # Without --backing-chain it opens this one file, and says what its header names.
        text = await self._run("info", "--output=json", "-f", image_format, "--", filename)
        if filename in self._keys:  # a key that does not fit must show before anything is done
            await self._run_on(filename, "snapshot", "-l")
        try:
            return image_of_info(json.loads(text))
        except (ValueError, RecursionError, CannotConnect) as error:
            raise NoReply(f"qemu-img's answer cannot be read: {error}") from error

    async def check(self, filename: str, image_format: str) -> str:
        """Check an image; see `planner.inspect.offline.OfflineImages.check`."""
        _check(filename, served=True)
        text = await self._run_on(
            filename, "check", "--output=json", image_format=image_format, ends=_CHECK_ENDS
        )
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NoReply(f"qemu-img's answer cannot be read: {error}") from error
        wrong = [f"{found[what]} {what}" for what in _CHECK_COUNTS if found.get(what)]
        return ", ".join(wrong)

    async def revert(self, filename: str, snapshot_id: str) -> None:
        """Revert to a snapshot by id; see `planner.inspect.offline.OfflineImages.revert`."""
        _check(filename)
        # In one argument, whatever it begins with; qcow2 looks for an id before it looks for a tag.
        with _held(filename) as image:
            await self._write(filename, image, "snapshot", "-q", f"-a{snapshot_id}")

    async def _write(self, filename: str, image: int, *arguments: str) -> None:
        """Let qemu-img write to the image that is open, whatever its name means by now."""
        await self._run_on(filename, *arguments, image=image)

    async def _run_on(
        self,
        filename: str,
        subcommand: str,
        *arguments: str,
        image: int | None = None,
        image_format: str = "qcow2",
        ends: tuple[int, ...] = (0,),
    ) -> str:
        """Run qemu-img on an image alone, with its key where it has one; open, or by its name."""
        key = self._keys.get(filename)
        secret = secret_options("--object", () if key is None else (key,))
        name = alone(filename if image is None else name_of(image), image_format, key)
        descriptors = () if image is None else (image,)
        try:
            return await self._run(
                *(subcommand, *secret, *arguments, "--", name), ends=ends, descriptors=descriptors
            )
        except NoReply as failed:
            raise NoReply(_without_options(str(failed), name, filename)) from failed

    async def _run(
        self, *arguments: str, ends: tuple[int, ...] = (0,), descriptors: Sequence[int] = ()
    ) -> str:
        # Whoever is cancelled meanwhile must not take back what a qemu-img is still doing.
        return await to_its_end(
            asyncio.to_thread(
                run_qemu_img, self._program, *arguments, ends=ends, descriptors=descriptors
            )
        )


def qemu_img_program() -> str:
    """The qemu-img that is started where nobody names one: ``$SNAPPLAN_QEMU_IMG``, else ``qemu-img``."""
    return os.environ.get("SNAPPLAN_QEMU_IMG") or "qemu-img"


def run_qemu_img(
    program: str, *arguments: str, ends: tuple[int, ...] = (0,), descriptors: Sequence[int] = ()
) -> str:
    """Run qemu-img and return what it says.

    Args:
        program: Its path or name; empty: ``$SNAPPLAN_QEMU_IMG``, else ``qemu-img``.
        arguments: As a list; nothing is read by a shell.
        ends: The exit codes that are answers, no failures.
        descriptors: Open files that it inherits; named as `backends.by_descriptor.name_of` says.

    Raises:
        NoReply: It cannot be started, failed (in its own words), or did not end.
    """
    program = program or qemu_img_program()
    try:
        done = subprocess.run(
            tied([program, *arguments]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            pass_fds=descriptors,
            process_group=0,
        )
    except subprocess.TimeoutExpired as error:
        raise NoReply(f"{program} did not end within {_TIMEOUT_S:g} s") from error
    except OSError as error:
        raise NoReply(f"{program} cannot be started: {error.strerror}") from error
    if done.returncode not in ends:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        # A file that was passed cannot be deleted by its name: that comes before why it failed.
        told = [line for line in lines if "Error when deleting file" not in line] or lines
        raise NoReply(told[0] if told else f"{program} failed")
    return done.stdout.decode(errors="replace")


def _without_options(said: str, name: str, filename: str) -> str:
    """qemu-img's words with the image's file in the place of all its options, and what to do."""
    words = said.replace(name, filename)
    if "key-secret' is required" in words:
        return f"{filename} is encrypted, and its key was not given (--secret ID=FILE)"
    return words


@contextmanager
def _held(filename: str) -> Iterator[int]:
    """The image, open: in a folder of another user's a name may mean another file the next moment."""
    try:
        descriptor = open_file(Path(filename))
    except OSError as error:
        raise NoReply(f"{filename}: {error.strerror or error}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check(filename: str, *, served: bool = False) -> None:
    if served and filename.startswith(SERVED):
        return
    if not filename.startswith("/"):
        raise NoReply("its name is no absolute path of a file, and may be another machine's")
    try:
        mode = Path(filename).stat().st_mode
    except (OSError, ValueError) as error:
        raise NoReply(getattr(error, "strerror", None) or str(error)) from error
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise NoReply("it is no regular file and no block device")
