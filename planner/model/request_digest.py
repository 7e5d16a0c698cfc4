"""What a request is known by: a snapshot's record has it, so that a tool can see what was asked for.

Two requests have one digest where the snapshots that they ask for are the same: same tag, same parts.
What says nothing of the snapshot is left out: its description, what becomes of one that is there
(`existing-tag`), and whether the VM runs afterwards.  The order of disks does not count.
"""

from __future__ import annotations

import hashlib
import json

from planner.model.request import Request
from planner.model.request_text import request_to_plain

__all__ = ["request_digest"]

_NOT_OF_THE_SNAPSHOT = ("description", "existing-tag", "run-state-after")


def request_digest(request: Request) -> str:
    """SHA-256 of what a request asks a snapshot to be, in hexadecimal.

    A key that requests get later is `seldom` (`planner.model.shape`): it is not written where it says
    nothing, so digests of before stay true.
    """
    plain = request_to_plain(request)
    asked = {key: value for key, value in plain.items() if key not in _NOT_OF_THE_SNAPSHOT}
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
