"""Helpers of ours that do not outlive us: a qemu-img that goes on alone would write to images unseen.

Rules: the kernel kills a helper when the thread that started it ends, as it does with all of a process
that is killed (`prctl(PR_SET_PDEATHSIG)`, set by util-linux's setpriv on the way to the helper: nothing
of Python runs between fork and exec).  What a terminal sends to its foreground (Ctrl-C, a hang-up) must
not reach a helper, so that a step in hand is finished and then undone: each is started with
``process_group=0``, in a group of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

__all__ = ["tied"]


def tied(command: Sequence[str]) -> list[str]:
    """The command that runs a helper tied to us; the same one where there is no setpriv."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or shutil.which(command[0]) is None:  # then its own error is the better one
        return list(command)
    return [setpriv, "--pdeathsig", "KILL", "--", *command]
