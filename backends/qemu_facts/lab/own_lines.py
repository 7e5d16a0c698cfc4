"""VMs on command lines of their own: storage as people write it, not as a topology can say it."""

import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from backends.qemu_facts.lab.outside import until_timed
from backends.qemu_facts.lab.qemu import (
    connect_when_ready,
    end_process,
    qemu_binary,
    qemu_img_binary,
    tied,
)

__all__ = ["Folder", "folder"]


class Folder:
    """A folder with images, and a QEMU at a time."""

    def __init__(self, path):
        self.path = path
        self.qmp = None
        self.process = None
        self._started = None

    @property
    def directory(self):
        """The folder, as a VM of the harness has one."""
        return self.path

    @property
    def qmp_path(self):
        """The socket for the tool."""
        return self.path / "tool"

    def image(self, name, *options, size="8M", image_format="qcow2"):
        """Make an image; its path."""
        path = self.path / name
        command = [qemu_img_binary(), "create", "-q", "-f", image_format, *options, str(path)]
        command += (size,) if size else ()
        if any("iter-time" in option for option in options):
            until_timed(*command)
        else:
            subprocess.run(command, check=True, cwd=self.path)
        return path

    def tags(self, name):
        """What an image holds, asked of its file."""
        done = subprocess.run(
            [qemu_img_binary(), "snapshot", "-U", "-l", str(self.path / name)],
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.split()[1] for line in done.stdout.splitlines()[2:]]

    def start(self, *arguments, before=(), cwd=None, descriptors=()):
        """Start a QEMU on these arguments, in place of the one before.

        Args:
            arguments: Of QEMU.
            before: Words that stand before it, as `unshare -m`.
            cwd: Its working folder; None: this one.
            descriptors: What it inherits.
        """
        self.end()
        for left_over in ("qmp", "tool"):
            (self.path / left_over).unlink(missing_ok=True)
        line = [qemu_binary(), "-nodefaults", "-no-user-config", "-display", "none"]
        line += ["-machine", "pc,accel=tcg", "-m", "32", "-boot", "menu=off"]
        for name in ("qmp", "tool"):
            line += ["-qmp", f"unix:{self.path / name},server=on,wait=off"]
        with (self.path / "stderr").open("wb") as stderr:
            self.process = subprocess.Popen(
                [*before, *tied(), *line, *arguments],
                cwd=cwd or self.path,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                pass_fds=descriptors,
            )
        self.qmp = connect_when_ready(self.process, self.path)

    def end(self):
        """End the QEMU, if there is one."""
        if self.qmp is not None:
            self.qmp.close()
        if self.process is not None:
            end_process(self.process)
        self.qmp = self.process = None

    def kill(self):
        """Kill it, as a crash of the host would."""
        self.process.kill()
        self.process.wait()
        self.end()


@contextlib.contextmanager
def folder(kind=Folder):
    """A folder that goes with everything in it; short, for the sake of the sockets' paths."""
    path = Path(tempfile.mkdtemp(prefix="sp-"))
    made = kind(path)
    try:
        yield made
    finally:
        made.end()
        shutil.rmtree(path)
