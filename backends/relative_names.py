"""Relative names in QEMU's answers, made absolute: they mean what they meant when QEMU opened them.

Scripts start QEMU in the VM's folder with ``-drive file=disk.qcow2``, and QEMU goes on saying
``disk.qcow2``.  Which file that is, only QEMU's process shows (`planner.host.places`).  A name that
cannot be proved stays as it is, and what needs a file refuses it.  ``//`` and ``/./`` go: they mean
nothing.  A name by which QEMU itself would not find the file again, since ``-daemonize`` led it into
another folder, is told beside the absolute one (`LOST_KEY`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial

from attrs import frozen

from planner.host.places import OpenByProcess, absolute_name, leads_to_it, open_by
from planner.model.node_names import LOST_KEY

__all__ = ["TELLS_FILES", "from_the_root"]

TELLS_FILES = frozenset({"query-block", "query-named-block-nodes"})
"""Commands whose answers name files."""

_NAMES = frozenset({"file", "filename", "full-backing-filename"})
_NOTHING = re.compile(r"/(?:\.?/)+")


def from_the_root(answer: object, pid: int | None, of_sets: Callable[[str], str] = str) -> object:
    """An answer whose relative names are absolute, as far as QEMU's process proves what they mean.

    Args:
        answer: QEMU's; it is not changed.
        pid: The process at the other end; None: it cannot be known.
        of_sets: What the names of descriptor sets mean (`backends.descriptor_names`).
    """
    # One look at the process for each answer, and none where all names are absolute.
    opened = cache(partial(open_by, pid))
    names = _Names(
        cache(lambda name: of_sets(_absolute(name, open_files=opened))),
        cache(lambda name: _is_lost(name, open_files=opened)),
    )
    return _renamed(answer, names)


@frozen
class _Names:
    """What is asked of each name: what it is from the root, and whether QEMU does not find it again."""

    absolute: Callable[[str], str]
    lost: Callable[[str], bool]


def _absolute(name: str, open_files: Callable[[], OpenByProcess | None]) -> str:
    if name.startswith("/"):
        return _NOTHING.sub("/", name)
    before, colon, _ = name.partition(":")
    if not name or (colon and "/" not in before):
        return name  # nbd:…, json:…: no path
    opened = open_files()
    return name if opened is None else absolute_name(name, opened)


def _is_lost(name: str, open_files: Callable[[], OpenByProcess | None]) -> bool:
    absolute = _absolute(name, open_files)
    if absolute == name or name.startswith("/"):
        return False  # it is absolute, or nothing proves what it means
    opened = open_files()
    return opened is not None and not leads_to_it(name, opened)


def _renamed(value: object, names: _Names) -> object:
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    named = {
        key: names.absolute(item)
        if key in _NAMES and isinstance(item, str)
        else _renamed(item, names)
        for key, item in value.items()
    }
    file = value.get("file")
    if isinstance(file, str) and names.lost(file):
        named[LOST_KEY] = file
    return named
