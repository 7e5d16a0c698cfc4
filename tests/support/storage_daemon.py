"""A real qemu-storage-daemon, as the laboratory runs it; and what the tests ask of it beside."""

import functools
import subprocess

from backends.qemu_facts.lab import daemon as lab
from tests.support.images import qemu_img
from tests.support.qemu import end_process, qemu_img_binary

__all__ = ["DISKS", "Daemon", "check_images", "run_daemon", "storage_daemon"]

DISKS = lab.DISKS


class Daemon(lab.Daemon):
    """One that runs."""

    def end(self) -> None:
        """End it in good order."""
        end_process(self.process)

    def kill(self) -> None:
        """Kill it, as a crash does."""
        self.process.kill()
        self.process.wait()

    def execute(self, command: str, **arguments: object) -> object:
        """Ask it."""
        return self.qmp.execute(command, arguments)

    def tags(self) -> dict[str, list[str]]:
        """By node that is no file, the tags of its snapshots."""
        return {node: list(held) for node, held in self.snapshots().items()}

    def overlay(self, disk: str) -> str:
        """Add an overlay's node, and switch a disk to it; its name."""
        node = f"{disk}-over"
        self.add_overlay(node)
        self.execute("blockdev-snapshot", node=disk, overlay=node)
        return node

    def client(self, disk: str, *commands: str) -> str:
        """What an NBD client sees: qemu-io with these commands."""
        words = [word for command in commands for word in ("-c", command)]
        where = f"nbd+unix:///{disk}?socket={self.nbd_path}"
        done = subprocess.run(
            ["qemu-io", "-f", "raw", *words, where], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


storage_daemon = functools.partial(lab.storage_daemon, kind=Daemon)
run_daemon = functools.partial(lab.run_daemon, kind=Daemon)


def check_images(daemon: Daemon) -> None:
    """The images are sound; the daemon must have ended."""
    for disk, image_format in DISKS.items():
        if image_format == "qcow2":
            qemu_img(qemu_img_binary(), "check", "-q", "-f", image_format, daemon.image(disk))
