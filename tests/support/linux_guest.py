"""Machines as people run them, with a Linux guest that checks its own memory and disks.

The guest is made by `script/linux-guest`; what it prints is said in `linux_checker.c`, and read as what
the other guest says (`guest`).  A machine here is QEMU's own words with places for files; `start_linux`
makes the files, starts QEMU and ends it.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from tests.support import images
from tests.support.qemu import (
    QemuVm,
    connect_when_ready,
    end_process,
    qemu_binary,
    qemu_img_binary,
)
from tests.support.topology import two_disks

__all__ = ["LinuxMachine", "guest_folder", "kept_files", "run_linux", "start_linux"]

_ROOT = Path(__file__).parents[2]
_DISK_BYTES = 64 << 20


@functools.cache
def guest_folder() -> Path:
    """The folder of the kernel, the initial file system and the firmware."""
    done = subprocess.run(
        [_ROOT / "script/linux-guest"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise AssertionError(f"no Linux guest: {done.stderr}")
    return Path(done.stdout.strip())


@attrs.frozen
class LinuxMachine:
    """A machine, in QEMU's words.

    Attributes:
        words: Of the command line; ``{folder}`` stands for the machine's folder, ``{guest}`` for the
            guest's.
        images: Files to make in the folder: name, format, and further words for ``qemu-img create``.
        copies: Files of the guest's folder to copy: from, to, and the format to convert to.
        disks: Disks that the guest writes to, by their names in requests.
        vmstate: The disk that holds the machine state.
        memory_mib: Of the guest.
    """

    words: tuple[str, ...]
    images: tuple[tuple[str, ...], ...] = ()
    copies: tuple[tuple[str, str, str], ...] = ()
    disks: tuple[str, ...] = ()
    vmstate: str = ""
    memory_mib: int = 192


@contextlib.contextmanager
def kept_files(machine: LinuxMachine) -> Iterator[Path]:
    """A folder with the machine's files; gone when the context is left."""
    directory = Path(tempfile.mkdtemp(prefix="sp-"))  # short: a unix socket's path ends at 107
    try:
        _make_files(machine, directory)
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def start_linux(machine: LinuxMachine, more: Sequence[str] = ()) -> Iterator[QemuVm]:
    """Start it; it and its files are gone when the context is left."""
    with kept_files(machine) as directory, run_linux(machine, directory, more) as vm:
        yield vm


def _make_files(machine: LinuxMachine, directory: Path) -> None:
    for name, image_format, *more in machine.images:
        filled = [word.format(folder=directory) for word in more]
        size = [] if "-b" in filled else [str(_DISK_BYTES)]
        images.qemu_img(
            *(qemu_img_binary(), "create", "-q", "-f", image_format),
            *filled,
            directory / name,
            *size,
        )
    for source, name, image_format in machine.copies:
        images.qemu_img(
            *(qemu_img_binary(), "convert", "-q", "-f", "raw", "-O", image_format),
            *(guest_folder() / source, directory / name),
        )
    for made in directory.iterdir():
        made.chmod(0o600)


@contextlib.contextmanager
def run_linux(machine: LinuxMachine, directory: Path, more: Sequence[str] = ()) -> Iterator[QemuVm]:
    """Run QEMU on the files that lie in a folder: again, after another one has ended."""
    for left_over in ("qmp", "tool", "console"):
        (directory / left_over).unlink(missing_ok=True)
    guest = guest_folder()
    accelerator = os.environ.get("SNAPPLAN_ACCEL", "tcg")
    arguments = [
        "-machine",
        f"q35,accel={accelerator}",
        "-m",
        f"{machine.memory_mib},slots=2,maxmem=1G",
    ]
    arguments += ["-nodefaults", "-no-user-config", "-display", "none"]
    for name in ("qmp", "tool"):
        arguments += ["-qmp", f"unix:{directory / name},server=on,wait=off"]
    arguments += ["-serial", f"file:{directory / 'console'}"]
    arguments += ["-kernel", str(guest / "vmlinuz"), "-initrd", str(guest / "initrd")]
    arguments += ["-append", "console=ttyS0 quiet loglevel=0 checker.mib=24"]
    arguments += [word.format(folder=directory, guest=guest) for word in (*machine.words, *more)]
    with (directory / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "prlimit", "--core=0", qemu_binary(), *arguments],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=stderr,
            stderr=stderr,
        )
    try:
        qmp = connect_when_ready(process, directory)
        with contextlib.closing(qmp):
            yield QemuVm(two_disks(), directory, qmp, directory / "tool", process)
    finally:
        end_process(process)
