"""Disks of other kinds, and what QEMU's block layer does not serve: a disk of a daemon, an emulated TPM.

Each process is ended by its pid when the context is left, and by the kernel should the tests be killed;
its folder goes with it.
"""

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from backends.qemu_facts.lab.binaries import daemon_binary
from backends.qemu_facts.lab.images import qemu_img
from backends.qemu_facts.lab.outcome import NotRun, holds
from backends.qemu_facts.lab.qemu import end_process, qemu_img_binary, tied

__all__ = [
    "SHARED_MEMORY",
    "disk_of_kind",
    "encrypted_disk",
    "until_timed",
    "emulated_tpm",
    "folder",
    "shared_memory",
    "vhost_user_disk",
    "vhost_user_network",
    "virtiofsd",
]

START_DEADLINE_S = 30.0
_TRIES = 50
_PLACES = {"shm": "/dev/shm", "disk": "/var/tmp"}
DISK_BYTES = 8 * 2**20
VIRTIOFSD = Path("/usr/lib/qemu/virtiofsd")
"""Debian's daemon of QEMU 7.2 for a shared folder."""


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
        daemon = [daemon_binary(), "--blockdev", node, "--export", f"{export},{address}"]
        with _running(daemon, socket):
            yield (
                *("-chardev", f"socket,id=chr-{device_id},path={socket}"),
                *("-device", f"vhost-user-blk-pci,chardev=chr-{device_id},id={device_id}"),
            )


@contextlib.contextmanager
def vhost_user_network() -> Iterator[tuple[str, ...]]:
    """A network backend that another process would serve: it agrees to everything, and does nothing."""
    with folder() as where, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(where / "socket"))
        listening.listen()
        threading.Thread(target=_serve_network, args=(listening,), daemon=True).start()
        try:
            yield (
                *("-chardev", f"socket,id=chr-net,path={where / 'socket'}"),
                *("-netdev", "vhost-user,id=hn0,chardev=chr-net"),
                *("-device", "virtio-net-pci,netdev=hn0,id=net0"),
            )
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _serve_network(listening: socket.socket) -> None:
    """Answer the one question that needs an answer, GET_FEATURES, until QEMU is gone."""
    with contextlib.suppress(OSError):
        connection, _ = listening.accept()
        with connection:
            while len(header := connection.recv(12, socket.MSG_WAITALL)) == 12:
                request, _, size = struct.unpack("<3I", header)
                if size:
                    connection.recv(size, socket.MSG_WAITALL)
                if request == 1:
                    connection.sendall(struct.pack("<3IQ", 1, 5, 8, 1 << 32 | 1 << 26))


@contextlib.contextmanager
def virtiofsd(where: Path) -> Iterator[Path]:
    """Run it on a new folder below this one; its socket."""
    shared, socket = where / "shared", where / "fs.sock"
    shared.mkdir()
    asked = f"--socket-path={socket}", "-o", f"source={shared},sandbox=chroot"
    with _running([str(VIRTIOFSD), *asked], socket):
        yield socket


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
def memory_in(place: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """The guest's memory as a memfd, or a file in one of `_PLACES`; and the file system's type."""
    if place == "memfd":
        yield SHARED_MEMORY, place
        return
    where = Path(tempfile.mkdtemp(prefix="sp-", dir=_PLACES[place]))
    try:
        said = ["stat", "--file-system", "--format=%T", str(where)]
        filesystem = subprocess.run(said, capture_output=True, text=True, check=True).stdout.strip()
        yield shared_memory(f"memory-backend-file,mem-path={where / 'ram'}"), filesystem
    finally:
        shutil.rmtree(where)


def open_to_nobody() -> bool:
    """Whether this machine lets everybody use userfaultfd."""
    sysctl = Path("/proc/sys/vm/unprivileged_userfaultfd")
    device = Path("/dev/userfaultfd")
    everybody = device.exists() and device.stat().st_mode & 0o6 == 0o6
    return everybody or (sysctl.exists() and sysctl.read_text().strip() == "1")


_KEY = "secret,id=key,data=tested"


@contextlib.contextmanager
def encrypted_disk(*, container: bool = False) -> Iterator[tuple[str, ...]]:
    """A disk `secret0`: a qcow2 image encrypted by itself, or a plain one in a LUKS container."""
    with folder() as where:
        binary, image, plain = qemu_img_binary(), where / "image", where / "plain"
        made = ("--object", _KEY)
        key = {"key-secret": "key"}
        if container:
            qemu_img(binary, "create", "-f", "qcow2", "-o", "preallocation=falloc", plain, "8M")
            luks = ("-f", "raw", "-O", "luks", "-o", "key-secret=key,iter-time=10")
            until_timed(binary, "convert", *made, *luks, plain, image)
            file = {"driver": "luks", "file": {"driver": "file", "filename": str(image)}, **key}
            node = {"driver": "qcow2", "node-name": "secret0", "file": file}
        else:
            options = "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"
            until_timed(binary, "create", "-f", "qcow2", *made, "-o", options, image, "8M")
            file = {"driver": "file", "filename": str(image)}
            encrypt = {"format": "luks", **key}
            node = {"driver": "qcow2", "node-name": "secret0", "file": file, "encrypt": encrypt}
        yield ("-object", _KEY, *_attached(node))


@contextlib.contextmanager
def disk_of_kind(options: str, *, written: bool) -> Iterator[tuple[tuple[str, ...], Path]]:
    """A disk `kind0` made with these options of qemu-img's, with data in it or without; its image."""
    with folder() as where:
        binary, image, data = qemu_img_binary(), where / "image", where / "data"
        if written:
            data.write_bytes(b"x" * DISK_BYTES)
            made = ("-f", "raw", "-O", "qcow2", "-o", options, data, image)
            qemu_img(binary, "convert", *made)
        else:
            qemu_img(binary, "create", "-f", "qcow2", "-o", options, image, str(DISK_BYTES))
        file = {"driver": "file", "filename": str(image)}
        yield _attached({"driver": "qcow2", "node-name": "kind0", "file": file}), image


def until_timed(binary: str, *arguments: str | Path) -> None:
    """Make a LUKS key: how long that takes is measured, which fails by chance on a busy machine."""
    for _ in range(_TRIES):
        try:
            qemu_img(binary, *arguments)
        except AssertionError as error:
            if "accurate CPU usage" not in str(error):
                raise
        else:
            return
    raise AssertionError(f"the machine was too busy to make a key, {_TRIES} times")


def _attached(node: dict) -> tuple[str, ...]:
    name = node["node-name"]
    return (
        "-blockdev",
        json.dumps(node),
        "-device",
        f"virtio-blk-pci,drive={name},id={name}-device",
    )


@contextlib.contextmanager
def _running(command: list[str], socket: Path) -> Iterator[None]:
    if not shutil.which(command[0]):
        raise NotRun(f"needs {command[0]}")
    process = subprocess.Popen([*tied(), *command], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not socket.exists():
            holds(process.poll() is None, f"{command[0]} ended with {process.returncode}")
            holds(time.monotonic() < deadline, f"{command[0]} does not listen")
            time.sleep(0.005)
        yield
    finally:
        end_process(process)
