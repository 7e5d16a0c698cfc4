"""Two real QEMUs whose guests (`linked.asm`) send each other numbers over a serial line."""

import contextlib
import re
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support import images
from tests.support.qemu import connect_when_ready, end_process, qemu_binary, qemu_img_binary

__all__ = ["NAMES", "Linked", "linked", "make_images"]

NAMES = ("left", "right")
_DEADLINE_S = 120.0
_SIZE_BYTES = 4 << 20


def make_images(folder):
    """An image for each of the two, with the guest in it."""
    with tempfile.TemporaryDirectory(prefix="sp-") as directory:
        made = Path(directory, "guest")
        source = Path(__file__).with_suffix(".asm")
        subprocess.run(["nasm", "-f", "bin", "-o", str(made), str(source)], check=True)
        for name in NAMES:
            (folder / name).mkdir()
            path = folder / name / "disk0.qcow2"
            images.create(qemu_img_binary(), path, "qcow2", _SIZE_BYTES, made.read_bytes())


class Linked:
    """One of the two, running."""

    def __init__(self, folder, process, qmp):
        self.folder, self.process, self.qmp = folder, process, qmp
        self.tool = folder / "tool"

    def said(self):
        """What its guest has said since this QEMU was started."""
        return (self.folder / "console").read_text(encoding="ascii", errors="replace")

    def counts(self):
        """How many it has sent and received, each time that it said so."""
        found = re.findall(r"^S ([0-9a-f]{4}) R ([0-9a-f]{4})$", self.said(), re.MULTILINE)
        return [(int(sent, 16), int(received, 16)) for sent, received in found]

    def torn(self):
        return "TORN" in self.said()

    def wait(self, lines, since=0):
        """Wait until it has told its counts so many times more, or is torn."""
        deadline = time.monotonic() + _DEADLINE_S
        while len(self.counts()) < since + lines and not self.torn():
            ended = self.process.poll()
            assert ended is None, f"QEMU ended: {ended} {(self.folder / 'stderr').read_text()}"
            status = self.qmp.execute("query-status")["status"]
            assert time.monotonic() < deadline, f"the guest says {self.said()!r}, and is {status}"
            time.sleep(0.02)


@contextlib.contextmanager
def linked(folder, *options):
    """Both, linked to each other; what is between them is lost when they end."""
    link = folder / "link"
    link.unlink(missing_ok=True)
    with contextlib.ExitStack() as stack:
        found = {}
        for name, how in zip(NAMES, ("server=on,wait=off", "server=off"), strict=True):
            line = ("-chardev", f"socket,id=link,path={link},{how}", "-serial", "chardev:link")
            found[name] = stack.enter_context(_start(folder / name, *line, *options))
        yield found


@contextlib.contextmanager
def _start(folder, *options):
    for name in ("qmp", "tool"):
        (folder / name).unlink(missing_ok=True)
    words = [qemu_binary(), "-machine", "pc,accel=tcg", "-m", "8", "-nodefaults"]
    words += ["-no-user-config", "-display", "none", "-debugcon", f"file:{folder / 'console'}"]
    words += [
        "-blockdev",
        f"qcow2,node-name=disk0,file.driver=file,file.filename={folder}/disk0.qcow2",
    ]
    words += ["-device", "virtio-blk-pci,drive=disk0,id=disk0-device"]
    for name in ("qmp", "tool"):
        words += ["-qmp", f"unix:{folder / name},server=on,wait=off"]
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen([*words, *options], stdin=subprocess.DEVNULL, stderr=stderr)
    try:
        with contextlib.closing(connect_when_ready(process, folder)) as qmp:
            yield Linked(folder, process, qmp)
    finally:
        end_process(process)
