"""What is left of templates whose maker died.  Touches nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

from planner.collect.unneeded import Orphan, OrphanKind
from planner.store.makings import makings_of
from planner.store.store import VmStore

__all__ = ["makings_left"]


def makings_left(vm: VmStore) -> Iterator[Orphan]:
    """One find for each; the VM's lock is held, so nobody is at work on it."""
    needed = {file for each in vm.manifests().found for file in each.template_files}
    for making in makings_of(vm):
        there = [file for file in making.left_over(needed) if os.path.lexists(file)]
        files = f": {', '.join(there)}" if there else ""
        message = f"a template was being made or removed when a snapplan died{files}"
        kind = OrphanKind.TEMPLATE_UNFINISHED
        yield Orphan(kind, making.token, message, removable=True, tag=making.tag)
