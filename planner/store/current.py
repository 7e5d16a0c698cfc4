"""Which snapshot a VM stands on: the one that it was last loaded from, or last saved as.

QEMU keeps no such thing, and a manager's tree of snapshots is made of it.  A snapshot records the one
that the VM stood on when it was taken, and that one's own, and so on (`Manifest.ancestors`).  So the
tree needs no other manifest to be written when one is deleted: the nearest ancestor that is still there
is the parent.  What stands in `current.json` is such a list, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from attrs import frozen
from cattrs import Converter

from planner.errors import BadInput, Problem, SnapplanError
from planner.host.files import write_whole
from planner.model.ancestor import Ancestor
from planner.model.strict import strict_converter, structured, write_with_hyphens
from planner.model.text import json_object
from planner.store.store import Store, VmIdentity, VmStore

__all__ = ["ancestors_now", "current_of", "reverting", "set_current"]

FORMAT = "snapplan-current"
FORMAT_VERSION = 1
_FILE = "current.json"


@frozen
class _Current:
    ancestors: tuple[Ancestor, ...]


@cache
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (Ancestor, _Current):
        write_with_hyphens(converter, kind)
    return converter


def current_of(vm: VmStore) -> tuple[Ancestor, ...]:
    """The snapshot that a VM stands on, then that one's ancestors; empty: none, or nobody knows.

    Some of them may be deleted by now.
    """
    with suppress(OSError, ValueError):
        value = json_object((vm.folder / _FILE).read_text(encoding="utf-8")) or {}
        if value.pop("format", None) == FORMAT:
            value.pop("format-version", None)
            return structured(_converter(), value, _Current).ancestors
    return ()


def set_current(vm: VmStore, ancestors: tuple[Ancestor, ...]) -> None:
    """Write down what a VM stands on; its lock is held.  What is so already is not written again.

    Raises:
        BadInput: It cannot be written (``store-unwritable``); what was there is still there.
    """
    if current_of(vm) == ancestors:
        return
    body = _converter().unstructure(_Current(ancestors))
    text = json.dumps({"format": FORMAT, "format-version": FORMAT_VERSION, **body}, indent=1) + "\n"
    try:
        write_whole(vm.folder / _FILE, text)
    except OSError as error:
        why = error.strerror or str(error)
        problem = Problem("store-unwritable", str(vm.folder / _FILE), why, "make room for it")
        raise BadInput.of(problem) from error


@contextmanager
def reverting(vm: VmStore | None, ancestors: tuple[Ancestor, ...]) -> Iterator[None]:
    """Around the revert of a VM's disks without their VM; its lock is held.

    The VM stands on nothing meanwhile, so that nothing wrong is said of one where snapplan dies; in the
    end on the snapshot, or where no disk was reverted on what it stood on before.

    Args:
        vm: Whose disks they are; None: of no VM that the store knows.
        ancestors: The snapshot, then its ancestors.

    Raises:
        BadInput: It cannot be written down (``store-unwritable``).
    """
    if vm is None:
        yield
        return
    before = current_of(vm)
    set_current(vm, ())
    try:
        yield
    except SnapplanError as error:
        if all(problem.code != "disk-reverted" for problem in error.problems):
            set_current(vm, before)
        raise
    set_current(vm, ancestors)


def ancestors_now(vm: VmStore, identity: VmIdentity, tag: str) -> tuple[Ancestor, ...]:
    """What a snapshot that is taken now has for ancestors: those of the VM that are still there.

    Args:
        vm: The VM's share of the store.
        identity: The VM.
        tag: Of the new snapshot: one of that tag is replaced.
    """
    others = (manifest for _, manifest in Store(vm.folder.parent).inherited(identity, vm))
    there = {each.ancestor for each in (*vm.manifests().found, *others)}
    return tuple(each for each in current_of(vm) if each in there and each.tag != tag)
