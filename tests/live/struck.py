"""A snapplan on libvirt that is struck: `python -m tests.live.struck WHEN COMMAND PID WORDS…`.

WHEN: `before` or `after` it is done. COMMAND: QMP's, or `overlays`: libvirt's call that puts them on.
PID: the process that is killed then; 0: snapplan itself; -1: nobody, but the command is refused. The
rest is snapplan's command line.
"""

import os
import signal
import sys

from backends.domain.chains import Chains
from backends.domain.link import Link
from planner.cli.main import main
from planner.run.ports import CommandRefused


def strike(when: str, command: str, pid: int) -> None:
    """Strike at the first such command that reaches libvirt."""
    kind, name = (Link, "snapshot") if command == "overlays" else (Chains, "do")
    real = getattr(kind, name)
    struck = []

    def hit() -> None:
        struck.append(command)
        if pid < 0:
            raise CommandRefused("test", "refused by the test")
        os.kill(pid or os.getpid(), signal.SIGKILL)

    def do(self, *arguments):
        ours = not struck and (name == "snapshot" or arguments[0] == command)
        if ours and when == "before":
            hit()
        answer = real(self, *arguments)
        if ours and when == "after":
            hit()
        return answer

    setattr(kind, name, do)


if __name__ == "__main__":
    strike(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    sys.argv[1:] = sys.argv[4:]
    sys.exit(main())
