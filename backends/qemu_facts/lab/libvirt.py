"""A libvirtd of one's own: unprivileged, in a temporary folder, without systemd; and its domains.

As root it runs as `nobody`: a privileged one would use the machine's own folders. Everything ends by
its pid: the daemon is a child of ours; QEMUs are not (libvirt detaches them), and libvirt says their
pids.  `SNAPPLAN_LIBVIRT` names a program that runs another libvirt, with its own QEMU, in the place of
this machine's: `script/versions` sets it.  Only its daemon is that one: virsh and libvirt-python stay.
"""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
import xml.sax.saxutils
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends.qemu_facts.lab import guest, images
from backends.qemu_facts.lab.outcome import NotRun
from backends.qemu_facts.lab.qemu import START_DEADLINE_S, end_process

__all__ = ["Domain", "Libvirtd", "elsewhere", "libvirtd", "needed"]

NOBODY = 65534
SIZE_BYTES = 8 * 2**20
_SCSI = "<controller type='scsi' model='virtio-scsi'/>"
_CONFIG = 'security_driver = "none"\nstdio_handler = "file"\n'


def needed(program: str) -> str:
    """A program of Debian's.

    Raises:
        NotRun: It is not here.
    """
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise NotRun(f"needs {program}")
    return found


def elsewhere() -> list[str]:
    """What goes before a command of the other libvirt's; nothing: it is this machine's."""
    program = os.environ.get("SNAPPLAN_LIBVIRT")
    return [program] if program else []


def tied_as_user() -> list[str]:
    """What goes before a command that ends with us and runs as the daemon and its QEMUs do."""
    user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return [needed("setpriv"), "--pdeathsig", "KILL", *(user if os.geteuid() == 0 else [])]


class Libvirtd:
    """A libvirtd; `start` and `kill` it as often as you like."""

    emulator = ""
    """The QEMU of its domains; empty: this machine's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen | None = None
        self.socket = folder / "run/libvirt/libvirt-sock"
        self.uri = f"qemu+unix:///session?socket={self.socket}"
        for name in ("run", "config/libvirt", "cache", "data"):
            (folder / name).mkdir(parents=True)
        (folder / "config/libvirt/qemu.conf").write_text(_CONFIG)
        (folder / "daemon.conf").write_text("log_level = 3\n")
        for path in (folder, *folder.rglob("*")):
            self.give(path)

    @staticmethod
    def give(path: Path) -> None:
        """Give a file to the user that the daemon and its QEMUs run as."""
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)

    @property
    def pid_files(self) -> Path:
        """Where it writes down which processes its QEMUs are."""
        return self.folder / "run/libvirt/qemu/run"

    @property
    def consoles(self) -> Path:
        """Where its QEMUs may make files."""
        return self.folder

    def start(self) -> None:
        """Start it, and wait until it answers."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.folder)}
        for name, place in (("RUNTIME_DIR", "run"), ("CONFIG_HOME", "config")):
            variables[f"XDG_{name}"] = str(self.folder / place)
        for name in ("cache", "data"):
            variables[f"XDG_{name.upper()}_HOME"] = str(self.folder / name)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._program(), "-f", str(self.folder / "daemon.conf")],
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while self.virsh("version", may_fail=True) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"libvirtd: {(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    @staticmethod
    def _program() -> list[str]:
        return [*elsewhere(), *tied_as_user(), needed("libvirtd")]

    def kill(self) -> None:
        """Kill the daemon; its QEMUs run on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def virsh(self, *words: object, may_fail: bool = False) -> Any:
        """What virsh prints; None: it failed, and may."""
        done = subprocess.run(
            [needed("virsh"), "-q", "-c", self.uri, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        if done.returncode and not may_fail:
            raise AssertionError(f"virsh {words}: {done.stderr}")
        return None if done.returncode else done.stdout.strip()

    def domain(
        self, name: str = "toy", disks: int = 2, more: str = "", bus: str = "virtio"
    ) -> "Domain":
        """Define and start a domain whose guest checks itself on all its disks."""
        found = Domain(self, name, disks, more, bus)
        found.define()
        self.virsh("start", name)
        return found

    def close(self) -> None:
        """End every QEMU and the daemon, by their pids."""
        for file in self.pid_files.glob("*.pid"):
            if file.stem not in ("driver", "autostarted"):
                with contextlib.suppress(ProcessLookupError, ValueError):
                    os.kill(int(file.read_text()), 9)
        if self.process is not None:
            end_process(self.process)


class Domain:
    """A domain, its images and what its guest said."""

    def __init__(self, daemon: Libvirtd, name: str, disks: int, more: str, bus: str) -> None:
        self.daemon, self.name, self.more, self.bus = daemon, name, more, bus
        self.address = f"{daemon.uri}#{name}"
        self.disks = [daemon.folder / f"{name}-{number}.qcow2" for number in range(disks)]
        self.console_file = daemon.consoles / f"{name}-console"
        binary = needed("qemu-img")
        for number, path in enumerate(self.disks):
            sector = b"" if number else guest.boot_sector(range(disks))
            images.create(binary, path, "qcow2", SIZE_BYTES, sector)
            daemon.give(path)

    def target(self, number: int) -> str:
        """What libvirt calls a disk; all but the first are on the bus."""
        return ("sd" if number and self.bus == "scsi" else "vd") + chr(97 + number)

    def define(self) -> None:
        """Tell libvirt of it."""
        file = self.daemon.folder / f"{self.name}.xml"
        file.write_text(self._xml())
        self.daemon.virsh("define", file)

    def _xml(self) -> str:
        emulator = self.daemon.emulator or needed("qemu-system-x86_64")
        disks = "".join(
            "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
            f"<source file={xml.sax.saxutils.quoteattr(str(path))}/>"
            f"<target dev='{self.target(n)}' bus='{self.bus if n else 'virtio'}'/>"
            f"<boot order='{n + 1}'/></disk>"
            for n, path in enumerate(self.disks)
        )
        return (
            "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
            f"<name>{self.name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os>"
            f"<devices><emulator>{emulator}</emulator>{disks}"
            f"{_SCSI if self.bus == 'scsi' else ''}"
            "<controller type='usb' model='none'/><memballoon model='none'/></devices>"
            "<qemu:commandline><qemu:arg value='-debugcon'/>"
            f"<qemu:arg value='file:{self.console_file}'/>{self.more}</qemu:commandline></domain>"
        )

    def console(self) -> str:
        """Everything that the guest said since the domain was started last."""
        with contextlib.suppress(FileNotFoundError):
            return self.console_file.read_text(encoding="ascii", errors="replace")
        return ""

    def wait_guest(self, beats: int = 2, *, since: int = 0) -> list[int]:
        """Wait until the guest has printed so many counters; fails at once if it complains."""
        deadline = time.monotonic() + 60
        while True:
            said = self.console()[since:]
            if guest.failures(said):
                raise AssertionError(f"the guest says: {guest.failures(said)}")
            if len(guest.heartbeats(said)) >= beats:
                return guest.heartbeats(said)
            if time.monotonic() > deadline:
                raise AssertionError(f"the guest said only: {said[-200:]!r}")
            time.sleep(0.02)

    def wait_went_back(self, since: int) -> None:
        """Wait until the guest's counter has gone back since an offset of its console, and on again."""
        beats = 2
        while True:
            found = self.wait_guest(beats, since=since)
            if any(later <= sooner for sooner, later in itertools.pairwise(found)):
                return
            beats = len(found) + 1

    @property
    def state(self) -> str:
        """Its run state as libvirt sees it, with its reason."""
        return self.daemon.virsh("domstate", self.name, "--reason")

    @property
    def uuid(self) -> str:
        """Its UUID."""
        return self.daemon.virsh("domuuid", self.name)

    @property
    def pid(self) -> int:
        """Its QEMU's."""
        return int((self.daemon.pid_files / f"{self.name}.pid").read_text())

    def qmp(self, command: str, **arguments: object) -> Any:
        """QEMU's answer to a command through libvirt's monitor."""
        words = json.dumps({"execute": command, "arguments": arguments})
        said = json.loads(self.daemon.virsh("qemu-monitor-command", self.name, words))
        if "error" in said:
            raise AssertionError(f"{command}: {said['error']}")
        return said["return"]

    def overlay(self, path: Path, base: int = 0) -> Path:
        """Make an overlay's image over a disk's, that QEMU may use."""
        images.create_overlay(needed("qemu-img"), path, self.disks[base], SIZE_BYTES)
        self.daemon.give(path)
        return path

    def chain(self, number: int = 0) -> list[tuple[str, str]]:
        """The nodes and files of a disk as QEMU has them now, from the top down."""
        device = f"/machine/peripheral/virtio-disk{number}/virtio-backend"
        [block] = [each for each in self.qmp("query-block") if each["qdev"] == device]
        files, image = [], block["inserted"]["image"]
        while image is not None:
            files.append(image["filename"])
            image = image.get("backing-image")
        nodes = {
            each["file"]: each["node-name"]
            for each in self.qmp("query-named-block-nodes")
            if each["drv"] == "qcow2"
        }
        return [(nodes[file], file) for file in files]

    def sources(self) -> list[str]:
        """By libvirt, the file of each disk."""
        rows = self.daemon.virsh("domblklist", self.name).splitlines()
        return [row.split()[1] for row in rows]


@contextlib.contextmanager
def libvirtd(kind: type[Libvirtd] = Libvirtd) -> Iterator[Libvirtd]:
    """Start one; it, its QEMUs and its files are gone when the context is left."""
    folder = Path(tempfile.mkdtemp(prefix="sp-"))
    daemon = kind(folder)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()
        shutil.rmtree(folder)
