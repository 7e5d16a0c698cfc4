"""What QEMU's block layer does not serve: a disk of a storage daemon, an emulated TPM, shared memory.

Each process is ended by its pid when the context is left, and by the kernel should the tests be killed;
its folder goes with it.
"""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.qemu import end_process

__all__ = ["SHARED_MEMORY", "emulated_tpm", "folder", "shared_memory", "vhost_user_disk"]

START_DEADLINE_S = 30.0
DISK_BYTES = 8 * 2**20


def shared_memory(backend: str = "memory-backend-memfd") -> tuple[str, ...]:
    """Arguments for memory that another process can map, as every vhost-user device needs it."""
    made = f"{backend},id=mem,size=64M,share=on"
    return ("-object", made, "-machine", "memory-backend=mem")


SHARED_MEMORY = shared_memory()


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder with a short path, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="sp-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def vhost_user_disk(device_id: str = "vud0") -> Iterator[tuple[str, ...]]:
    """A storage daemon that serves a raw disk; QEMU's arguments for it."""
    with folder() as where:
        image, socket = where / "image.raw", where / "socket"
        with image.open("wb") as file:
            file.truncate(DISK_BYTES)
        node = f"driver=file,node-name=served,filename={image}"
        export = "type=vhost-user-blk,id=export,node-name=served,writable=on"
        address = f"addr.type=unix,addr.path={socket}"
        daemon = ["qemu-storage-daemon", "--blockdev", node, "--export", f"{export},{address}"]
        with _running(daemon, socket):
            yield (
                *("-chardev", f"socket,id=chr-{device_id},path={socket}"),
                *("-device", f"vhost-user-blk-pci,chardev=chr-{device_id},id={device_id}"),
            )


@contextlib.contextmanager
def emulated_tpm() -> Iterator[tuple[str, ...]]:
    """A TPM whose state another process keeps; QEMU's arguments for it."""
    with folder() as where:
        socket = where / "socket"
        emulator = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={where}"]
        with _running([*emulator, "--ctrl", f"type=unixio,path={socket}"], socket):
            yield (
                *("-chardev", f"socket,id=chr-tpm,path={socket}"),
                *("-tpmdev", "emulator,id=tpm0,chardev=chr-tpm"),
                *("-device", "tpm-tis,tpmdev=tpm0"),
            )


@contextlib.contextmanager
def _running(command: list[str], socket: Path) -> Iterator[None]:
    process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command])
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not socket.exists():
            assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{command[0]} does not listen"
            time.sleep(0.005)
        yield
    finally:
        end_process(process)
