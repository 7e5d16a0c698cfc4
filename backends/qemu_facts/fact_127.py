"""Fact 127: a link to nobody ends a QEMU that starts."""

import socket
import subprocess

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import found, holds, same
from backends.qemu_facts.lab.qemu import qemu_binary, tied
from backends.qemu_facts.lab.talker import start_talker
from backends.qemu_facts.steps.links import is_cut

ALONE = ("-machine", "none", "-nodefaults", "-display", "none", "-S")
NOBODY = ("-chardev", "socket,id=com1,path=nobody", "-serial", "chardev:com1")


@experiment()
@cases("left_over", [False, True], ids=["no file", "a socket that nobody listens at"])
def it_says_why(tmp_path, left_over):
    """No file of that name, or a socket at which nobody listens."""
    if left_over:
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(tmp_path / "nobody"))
    words = [*tied(), qemu_binary(), *ALONE, *NOBODY[:2]]
    ended = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    same(ended.returncode, 1)
    why = "Connection refused" if left_over else "No such file or directory"
    found(f"Failed to connect to 'nobody': {why}", ended.stderr)


@experiment()
def it_starts_where_it_tries_again(qemu):
    """With `reconnect`, renamed in 9.2; the old name is gone in 11. The link is not connected."""
    again = "reconnect-ms=1000" if qemu.version() >= (9, 2) else "reconnect=1"
    words = tuple(word.replace("nobody", f"nobody,{again}") for word in NOBODY)
    holds(is_cut(start_talker(qemu, words, paused=True)), "the link is cut")


if __name__ == "__main__":
    run_by_hand(globals())
