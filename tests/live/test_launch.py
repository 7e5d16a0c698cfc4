"""A QEMU that is started by a line: it is ended whatever the line is, a script or `-daemonize` too."""

import asyncio
import shlex
import tempfile
from pathlib import Path

import pytest

from backends.launch import launch
from planner.host.processes import lives, process_of
from tests.support.qemu import qemu_binary

LINES = {
    "as it is": "exec {qemu}",
    "daemonized": "exec {qemu} -daemonize",
    "by a script that waits": "{qemu}; true",
}


@pytest.mark.parametrize("how", LINES)
def test_the_qemu_of_a_line_is_known_and_ended(how):
    """Its process is the one that listens, not the script's; afterwards it is gone."""
    with tempfile.TemporaryDirectory() as folder:
        socket = str(Path(folder) / "qmp.sock")
        qemu = f"{qemu_binary()} -machine none -nodefaults -display none -S"
        line = LINES[how].format(qemu=f"{qemu} -qmp unix:{shlex.quote(socket)},server=on,wait=off")

        async def started():
            made = await launch(["sh", "-c", line], socket)
            try:
                backend = await made.connect(socket, 60)
                await backend.close()
                return made, made.pid, backend.peer_pid, process_of(made.pid)
            except BaseException:
                made.end()
                raise

        made, pid, peer, process = asyncio.run(started())
        made.wait(0.01)
        lived = lives(process)
        made.end()
        assert (pid, lived, lives(process)) == (peer, True, False)
