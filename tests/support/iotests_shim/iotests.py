"""As much of QEMU's `tests/qemu-iotests/iotests.py` as the tests use that `snapplan design page` makes.

Written for this: names and behaviour are those of QEMU's, the code is not.  The long test takes
QEMU's own, from Debian's source package.
"""

import json
import os
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

test_dir = os.environ["TEST_DIR"]
imgfmt = "qcow2"
_QEMU = os.environ["QEMU_PROG"]
_IMG = os.environ["QEMU_IMG_PROG"]
_IO = os.environ["QEMU_IO_PROG"]


def _run(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
    return done


def qemu_img(*words):
    return _run(_IMG, *words)


def qemu_img_info(path):
    return json.loads(_run(_IMG, "info", "--output", "json", path).stdout)


def qemu_io(*words):
    return _run(_IO, "-f", imgfmt, *words)


class VM:
    """A QEMU whose guest finds nothing to boot (Debian's has no accelerator `qtest`)."""

    def __init__(self):
        self._drives = []
        self._process = None

    def add_drive(self, path, opts=""):
        given = f"if=virtio,id=drive{len(self._drives)},file={path},format={imgfmt},{opts}"
        self._drives += ["-drive", given]
        return self

    def launch(self):
        place = Path(tempfile.mkdtemp(prefix="q", dir=os.environ["SOCK_DIR"])) / "q"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(place))
        listening.listen(1)
        listening.settimeout(60)
        words = ["-nodefaults", "-display", "none", "-accel", "tcg", "-m", "16", "-qmp"]
        command = [_QEMU, *words, f"unix:{place}", *self._drives]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._socket, _ = listening.accept()
        listening.close()
        self._stream = self._socket.makefile("r", encoding="utf-8")
        self._stream.readline()
        self.qmp("qmp_capabilities")

    def qmp(self, command, **arguments):
        message = {"execute": command}
        if arguments:
            message["arguments"] = {key.replace("_", "-"): each for key, each in arguments.items()}
        self._socket.sendall(json.dumps(message).encode())
        while True:
            reply = json.loads(self._stream.readline())
            if "event" not in reply:
                return reply

    def hmp_qemu_io(self, drive, command):
        return self.qmp("human-monitor-command", **{"command-line": f'qemu-io {drive} "{command}"'})

    def shutdown(self, hard=False):
        if hard:
            self._process.kill()
        else:
            self.qmp("quit")
        self._process.wait(60)
        self._stream.close()
        self._socket.close()


class QMPTestCase(unittest.TestCase):
    pass


def main(supported_fmts, supported_protocols):
    assert imgfmt in supported_fmts
    assert "file" in supported_protocols
    unittest.main(verbosity=2)
