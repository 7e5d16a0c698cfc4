"""Each kind of storage and device, under Linux, through each design: the work of script/device-table.

A machine is saved under a guest that checks itself, and goes back.  Where all parts are inside images
it loads twice; else its QEMU is ended, and `load --run` restores into a fresh one, whose disks are
promoted, what was set aside is dropped, and the snapshot is deleted with its overlays merged, until only
the images of before are left.  Or it is refused, with the reason.
"""

import contextlib
import json
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from attrs import field, frozen

from tests.live.restores import Adopted
from tests.live.runs import snapplan
from tests.support.guest import failures, heartbeats
from tests.support.linux_guest import guest_folder
from tests.support.outside import emulated_tpm, until_timed
from tests.support.qemu import end_process, qemu_binary, qemu_img_binary
from tests.support.qmp import QmpClient
from tests.support.user import belongs_to_nobody, nobody_words

__all__ = ["DESIGNS", "KINDS", "Result", "TooBusy", "through"]

DESIGNS = ("internal", "external, stopped", "external, live", "as drafted")
PATIENCE_S = 600.0  # a busy machine is slow, and that is no finding
SIZE = "64M"
_KERNEL_WORDS = "console=ttyS0 quiet loglevel=0 checker.mib=24"
_DISK = re.compile(r"DISK \w+ ")  # what firmware says may stand before it


@frozen
class Disk:
    """A disk of a machine.

    Attributes:
        name: Its `-drive` id or node name.
        bus: What it hangs on: ``virtio``, ``scsi``, ``nvme``, ``pflash``.
        format: Of its image.
        blockdev: Whether it is written with ``-blockdev``.
        options: More options of its node.
        base: Whether its image lies on another.
        slot: The bus that it is plugged into while the guest runs; empty: it is there from the start.
    """

    name: str
    bus: str = "virtio"
    format: str = "qcow2"
    blockdev: bool = False
    options: str = ""
    base: bool = False
    slot: str = ""

    @property
    def seen(self) -> bool:
        """Whether the guest sees it as a disk."""
        return self.bus != "pflash"

    def words(self, file: str, image_format: str) -> list[str]:
        """The options of QEMU's that make it."""
        if self.bus == "pflash":
            return ["-drive", f"if=pflash,unit=1,id={self.name},file={file},format={image_format}"]
        if self.blockdev:
            node = f"driver={image_format},node-name={self.name}{self.options}"
            words = ["-blockdev", f"{node},file.driver=file,file.filename={file}"]
        else:
            node = f"if=none,id={self.name},file={file},format={image_format}{self.options}"
            words = ["-drive", node]
        devices = {
            "virtio": f"virtio-blk-pci,drive={self.name}",
            "scsi": f"scsi-hd,bus=scsi0.0,drive={self.name}",
            "nvme": f"nvme,serial={self.name},drive={self.name}",
        }
        slot = f",bus={self.slot}" if self.slot else ""
        return [*words, "-device", f"{devices[self.bus]},id={self.name}-device{slot}"]

    def make(self, path: Path) -> None:
        """Its image."""
        if self.bus == "pflash":
            wanted = [
                "convert",
                "-f",
                "raw",
                "-O",
                self.format,
                guest_folder() / "OVMF_VARS_4M.fd",
                path,
            ]
        elif self.format == "luks":
            key = ["--object", "secret,id=key,data=secret", "-o", "key-secret=key,iter-time=10"]
            return until_timed(qemu_img_binary(), "create", "-q", "-f", "luks", *key, path, SIZE)
        elif "encrypt." in self.options:
            key = ["--object", "secret,id=key,data=secret"]
            key += ["-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"]
            return until_timed(qemu_img_binary(), "create", "-q", "-f", "qcow2", *key, path, SIZE)
        elif self.base:
            _img("create", "-q", "-f", "raw", path.with_suffix(".base"), SIZE)
            below = ["-F", "raw", "-b", path.with_suffix(".base")]
            wanted = ["create", "-q", "-f", "qcow2", *below, path]
        else:
            wanted = ["create", "-q", "-f", self.format, path, SIZE]
        _img(*wanted)
        return None


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        return probing.getsockname()[1]


def _img(*words) -> None:
    subprocess.run([qemu_img_binary(), *map(str, words)], check=True, capture_output=True)


_FIRST, _SECOND = Disk("disk0"), Disk("disk1")
_SCSI = ("-object", "iothread,id=io0", "-device", "virtio-scsi-pci,id=scsi0,iothread=io0")
_NET = ("-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0,id=nic0")
_ECHO = (
    *("-netdev", "user,id=net0,hostfwd=tcp:127.0.0.1:{port}-:7"),
    *("-device", "virtio-net-pci,netdev=net0,id=nic0"),
)
_AGENT = (
    *("-chardev", "socket,id=agent,path={folder}/agent,server=on,wait=off"),
    *("-device", "virtio-serial-pci,id=serial0"),
    *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0,id=agent-port"),
)
_PORT = ("-device", "pcie-root-port,id=port1,chassis=1")
_MODULE_BYTES = 128 << 20
_MODULE = (
    *("-object", f"memory-backend-ram,id=ram1,size={_MODULE_BYTES}"),
    *("-device", "pc-dimm,id=dimm1,memdev=ram1"),
)
_OTHER = ("{user}",)
_CODE = ("-drive", "if=pflash,unit=0,format=raw,readonly=on,file={code}")
_SECRET = ("-object", "secret,id=key,data=secret")


@frozen
class Kind:
    """A machine.

    Attributes:
        disks: Its disks; those with a slot, and a memory module with them, come while the guest runs.
        more: What else it has, as QEMU's words.
        tpm: Whether it has a TPM, which swtpm emulates.
    """

    disks: tuple[Disk, ...]
    more: tuple[str, ...] = ()
    tpm: bool = False


KINDS = {
    "virtio-blk, qcow2, `-drive`": Kind((_FIRST, _SECOND)),
    "virtio-blk, qcow2, `-blockdev`": Kind(
        (Disk("disk0", blockdev=True), Disk("disk1", blockdev=True))
    ),
    "virtio-blk, raw beside qcow2": Kind((_FIRST, Disk("disk1", format="raw"))),
    "virtio-scsi with an iothread": Kind((Disk("disk0", "scsi"), Disk("disk1", "scsi")), _SCSI),
    "NVMe": Kind((_FIRST, Disk("disk1", "nvme"))),
    "a backing chain": Kind((_FIRST, Disk("disk1", base=True))),
    "LUKS": Kind(
        (_FIRST, Disk("disk1", format="luks", blockdev=True, options=",key-secret=key")), _SECRET
    ),
    "qcow2, encrypted": Kind(
        (
            _FIRST,
            Disk("disk1", blockdev=True, options=",encrypt.format=luks,encrypt.key-secret=key"),
        ),
        _SECRET,
    ),
    "OVMF, raw variables": Kind((_FIRST, Disk("vars0", "pflash", "raw")), _CODE),
    "OVMF, qcow2 variables": Kind((_FIRST, Disk("vars0", "pflash")), _CODE),
    "virtio-net": Kind((_FIRST, _SECOND), _NET),
    "virtio-net with an open connection": Kind((_FIRST,), _ECHO),
    "a TPM (swtpm)": Kind((_FIRST, _SECOND), tpm=True),
    "a guest agent": Kind((_FIRST, _SECOND), _AGENT),
    "a disk and memory, hotplugged": Kind(
        (_FIRST, Disk("disk1", blockdev=True, slot="port1")), _PORT
    ),
    "QEMU as another user": Kind((_FIRST, _SECOND), _OTHER),
}


class TooBusy(Exception):
    """The guest did not start in good time, before snapplan did anything."""


@frozen
class Result:
    """What became of one machine in one design."""

    verdict: str
    why: str = ""


@frozen
class Machine:
    """A machine in a folder of its own."""

    kind: Kind
    folder: Path
    tpm: tuple[str, ...] = ()
    port: int = field(factory=free_port)
    images: dict[str, Path] = field(init=False)

    def __attrs_post_init__(self) -> None:
        made = {}
        for disk in self.kind.disks:
            made[disk.name] = self.folder / f"{disk.name}.{disk.format}"
            disk.make(made[disk.name])
        object.__setattr__(self, "images", made)
        if self.kind.more == _OTHER:
            belongs_to_nobody(self.folder)

    @property
    def socket(self) -> Path:
        """Where snapplan meets it."""
        return self.folder / "tool"

    @property
    def store(self) -> tuple:
        """The options of each snapplan here."""
        return ("--store", self.folder / "store", "--json")

    @property
    def plugged(self) -> list[Disk]:
        """The disks that come while the guest runs."""
        return [disk for disk in self.kind.disks if disk.slot]

    def more(self) -> list[str]:
        """What else it has, with this machine's own places and names."""
        if self.kind.more == _OTHER:
            return list(nobody_words())
        own = {
            "{code}": str(guest_folder() / "OVMF_CODE_4M.fd"),
            "{folder}": str(self.folder),
            "{port}": str(self.port),
        }
        words = list(self.kind.more)
        for name, value in own.items():
            words = [word.replace(name, value) for word in words]
        return [*words, *self.tpm]

    def words(
        self, place: Callable[[Disk], tuple[str, str]], socket: str, *, whole: bool = True
    ) -> list[str]:
        """QEMU's command line, by where each disk's image is; whole: with what is plugged later."""
        guest = guest_folder()
        there = [disk for disk in self.kind.disks if whole or not disk.slot]
        more = [*self.more(), *(_MODULE if whole and self.plugged else ())]
        disks = [word for disk in there for word in disk.words(*place(disk))]
        return [
            *(qemu_binary(), "-machine", "q35,accel=tcg", "-m", "192,slots=2,maxmem=1G"),
            "-nodefaults",
            *("-no-user-config", "-display", "none", "-name", self.folder.name),
            *("-serial", f"file:{self.folder / 'console'}", "-kernel", str(guest / "vmlinuz")),
            *("-initrd", str(guest / "initrd"), "-append", _KERNEL_WORDS),
            *("-qmp", f"unix:{socket},server=on,wait=off", *more, *disks),
        ]

    @property
    def template(self) -> str:
        """The same for `load --run`."""
        return shlex.join(
            self.words(lambda d: (f"{{disk:{d.name}}}", f"{{format:{d.name}}}"), "{qmp}")
        )

    @contextlib.contextmanager
    def started(self):
        """Its QEMU; ended at the end, whatever happens."""
        words = self.words(
            lambda disk: (str(self.images[disk.name]), disk.format), str(self.socket), whole=False
        )
        with (self.folder / "said").open("wb") as said:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
            )
        try:
            yield process
        finally:
            end_process(process)

    def plug(self) -> None:
        """What comes while the guest runs: disks, and a memory module with them."""
        with contextlib.closing(QmpClient(self.socket)) as qmp:
            for disk in self.plugged:
                file = {"driver": "file", "filename": str(self.images[disk.name])}
                node = {"driver": disk.format, "node-name": disk.name, "file": file}
                device = {"driver": "virtio-blk-pci", "drive": disk.name, "bus": disk.slot}
                qmp.execute("blockdev-add", node)
                qmp.execute("device_add", {**device, "id": f"{disk.name}-device"})
            if self.plugged:
                memory = {"qom-type": "memory-backend-ram", "id": "ram1", "size": _MODULE_BYTES}
                qmp.execute("object-add", memory)
                qmp.execute("device_add", {"driver": "pc-dimm", "id": "dimm1", "memdev": "ram1"})

    @contextlib.contextmanager
    def connected(self):
        """A connection through the guest's network card that is open meanwhile, where it has one."""
        if self.kind.more != _ECHO:
            yield
            return
        where = ("127.0.0.1", self.port)
        with socket.create_connection(where, timeout=PATIENCE_S) as connection:
            _say(connection, b"before")
            yield
            _say(connection, b"after")

    def console(self) -> str:
        """All that the guest has said since its QEMU was started."""
        path = self.folder / "console"
        return path.read_text(errors="replace") if path.exists() else ""

    def ticks(self) -> list[int]:
        """Its counters; it must not have complained."""
        said = self.console()
        assert not failures(said), failures(said)[:5]
        return heartbeats(said)

    def wait_started(self, process) -> None:
        """Wait until the guest is at work.

        Raises:
            TooBusy: It is not there in good time, which says nothing of snapplan.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self.ticks():
            assert process.poll() is None, (self.folder / "said").read_text()
            if time.monotonic() > deadline:
                raise TooBusy
            time.sleep(0.2)
        self.wait_ticks(4, process)

    def wait_ticks(self, wanted: int, process) -> int:
        """Wait for so many more ticks; the last counter."""
        begin, deadline = len(self.ticks()), time.monotonic() + PATIENCE_S
        while len(self.ticks()) < begin + wanted:
            assert process.poll() is None, (self.folder / "said").read_text()
            assert time.monotonic() < deadline, f"the guest stands still: {self.console()[-600:]}"
            time.sleep(0.2)
        return self.ticks()[-1]

    def wait_disks(self, process) -> None:
        """Wait until the guest has seen all of its disks."""
        wanted, deadline = sum(disk.seen for disk in self.kind.disks), time.monotonic() + PATIENCE_S
        while len(_DISK.findall(self.console())) < wanted:
            assert self.plugged, "the guest misses a disk"
            assert process.poll() is None, (self.folder / "said").read_text()
            assert time.monotonic() < deadline, "the guest does not see what was plugged"
            time.sleep(0.2)
        assert len(_DISK.findall(self.console())) == wanted, "the guest sees more disks"

    def run(self, *words, text=None, code=0) -> dict:
        """A snapplan; what it says."""
        done = snapplan(*words, *self.store, text=text)
        assert done.returncode == code, f"snapplan {words[0]}: {done.stderr}"
        return json.loads(done.stdout)

    def left(self) -> list[str]:
        """The images that are there."""
        known = (".qcow2", ".raw", ".luks", ".state")
        return sorted(path.name for path in self.folder.iterdir() if path.name.endswith(known))


def _say(connection: socket.socket, word: bytes) -> None:
    connection.sendall(word)
    assert connection.recv(len(word), socket.MSG_WAITALL) == word, "the guest says something else"


def through(kind: str, design: str, folder: Path) -> Result:
    """Take a machine through a design."""
    wanted = KINDS[kind]
    with emulated_tpm() if wanted.tpm else contextlib.nullcontext(()) as tpm:
        machine = Machine(wanted, folder, tuple(tpm))
        with machine.started() as process:
            machine.wait_started(process)
            machine.plug()
            machine.wait_disks(process)
            with machine.connected():
                done = _saved(machine, design, process)
            if isinstance(done, Result):
                return done
        _restore(machine, done)
        return Result("works")


def _saved(machine: Machine, design: str, process) -> Result | int:
    """Save it; where its parts are inside images it goes back here. Else the counter that was saved."""
    done = snapplan(
        *("apply", "-", "--vm", machine.socket, *machine.store), text=_request(machine, design)
    )
    said = json.loads(done.stdout)
    if done.returncode == 10:
        return Result("refused", "; ".join(_why(said)))
    assert done.returncode == 0, done.stderr
    saved = machine.wait_ticks(3, process)
    manifest = json.loads(Path(said["manifest"]).read_text())
    if all(part["kind"] == "internal" for part in manifest["parts"]):
        _load_twice(machine, process)
        return Result("works")
    return saved


def _why(said) -> list[str]:
    return sorted({each["message"] for each in said["error"]["problems"]})


def _request(machine: Machine, design: str) -> str:
    if design == "as drafted":
        done = snapplan("inspect", "--vm", machine.socket, "--request")
        assert done.returncode == 0, done.stderr
        return done.stdout
    state = {"internal": "disk0"}
    parts = dict.fromkeys(machine.images, "internal")
    if design != "internal":
        capture = design.removeprefix("external, ")
        state = {"external": str(machine.folder / "a.state"), "capture": capture}
        parts = {
            disk: {"external": str(machine.folder / f"{disk}.a.qcow2")} for disk in machine.images
        }
    return json.dumps({"tag": "a", "machine-state": state, "disks": parts})


def _load_twice(machine: Machine, process) -> None:
    (tag,) = [each["tag"] for each in machine.run("list", "--vm", machine.socket)["snapshots"]]
    for _ in range(2):
        machine.wait_ticks(3, process)
        since = len(machine.ticks()) - 1
        machine.run("load", tag, "--vm", machine.socket)
        machine.wait_ticks(3, process)
        ticks = machine.ticks()[since:]
        assert any(after <= before for before, after in pairwise(ticks)), "it did not go back"
    machine.run("delete", tag, "--vm", machine.socket, "--yes")
    machine.wait_ticks(3, process)
    assert machine.console().count("START") == 1


def _restore(machine: Machine, saved: int) -> None:
    before = machine.left()
    (machine.folder / "console").unlink()
    tag = machine.run("list")["vms"][0]["snapshots"][0]["tag"]
    where = ("--qmp", machine.socket, "--yes")
    pid = machine.run("load", tag, "--run", machine.template, *where)["pid"]
    process = Adopted.of(pid)
    try:
        machine.wait_ticks(3, process)
        assert machine.ticks()[0] < saved, "the guest did not go back"
        name = f"{tag}.restored-1"
        machine.run("restore", "promote", name)
        machine.run("restore", "drop", name, "--yes")
        vm = ("--vm", machine.socket)
        assert machine.run("verify", tag, *vm)["findings"] == []
        machine.run("delete", tag, *vm, "--overlays", "commit", "--yes")
        with machine.connected():
            machine.wait_ticks(3, process)
        assert "START" not in machine.console()
        assert machine.left() == sorted(path.name for path in machine.images.values()), before
    finally:
        end_process(process)
