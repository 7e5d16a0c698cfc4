"""A QEMU whose guest never runs, and that has images open."""

import contextlib
import subprocess

from tests.support.qemu import connect_when_ready, end_process, qemu_binary

__all__ = ["idle_qemu"]


@contextlib.contextmanager
def idle_qemu(*options, folder):
    """A QEMU whose guest never runs, and that has an image open."""
    qmp = ("-S", "-qmp", f"unix:{folder}/qmp,server=on,wait=off")
    words = [qemu_binary(), "-nodefaults", "-display", "none", *qmp, *options]
    with (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=stderr)
    try:
        with contextlib.closing(connect_when_ready(process, folder)) as connected:
            yield connected
    finally:
        end_process(process)
