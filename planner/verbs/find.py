"""Finds the manifest of a snapshot: by its tag in a store, else by its file."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from planner.errors import BadInput, Problem
from planner.host.input import read_text_file
from planner.model.facts import Facts
from planner.parts.manifest import Manifest
from planner.parts.manifest_text import read_manifest
from planner.store.meeting import Met
from planner.store.naming import stored_vm, vms_called
from planner.store.store import Store, View, VmStore, as_plain

__all__ = [
    "FoundManifest",
    "find_in_store",
    "find_manifest",
    "find_on_vm",
    "find_own",
    "read_again",
    "store_of",
]


@frozen
class FoundManifest:
    """A manifest, the file that it is in, and how that is read."""

    manifest: Manifest
    path: Path
    view: View = field(default=as_plain, eq=False, repr=False)


def find_manifest(source: str, stores: Sequence[VmStore]) -> FoundManifest:
    """The manifest of a tag that a store has, else of a file.

    Args:
        source: A tag, or a path.
        stores: Where to look for a tag: the VM's own, or without a VM those of all.

    Raises:
        BadInput: There is none, there are several, or it cannot be read.
    """
    found = [
        FoundManifest(manifest, store.manifest_path(source), store.view)
        for store in stores
        if (manifest := store.manifest(source)) is not None
    ]
    if len(found) > 1:
        raise _ambiguous(source, found)
    if found:
        return found[0]
    if not Path(source).is_file():
        known = sorted({each.tag for store in stores for each in store.manifests().found})
        remedy = (
            f"choose one of: {', '.join(known)}" if known else "give its file: the store has none"
        )
        raise _bad("manifest-unknown", source, "no manifest has this tag, nor this file", remedy)
    view = stores[0].view if stores else as_plain
    return FoundManifest(view(read_manifest(read_text_file(source), source)), Path(source), view)


def find_in_store(source: str, store: Store, vm_name: str = "") -> FoundManifest:
    """The manifest of a tag of a VM that is not asked, else of a file.

    Args:
        source: A tag, or a path.
        store: Where to look.
        vm_name: The name or UUID of the VM whose tag it is; empty: the only one that has it.

    Raises:
        BadInput: See `find_manifest`; or no VM is called so (``vm-unknown``).
    """
    return find_manifest(source, vms_called(store, vm_name))


def _ambiguous(source: str, found: Sequence[FoundManifest]) -> BadInput:
    vms = [stored_vm(VmStore(each.path.parent.parent)) for each in found]
    once = {name for name, count in Counter(each.called for each in vms).items() if count == 1}
    # Of two VMs of one name the name says nothing.
    names = [each.called if each.called in once else each.uuid or each.vm.vm_key for each in vms]
    if len(set(names)) != len(names):
        names = [each.vm.vm_key for each in vms]
    have = ", ".join(f"{name} ({each.path})" for name, each in zip(names, found, strict=True))
    remedy = f"say which with --name, as in --name {shlex.quote(names[0])}, or give its file"
    return _bad("manifest-ambiguous", source, f"several VMs have one: {have}", remedy)


def read_again(found: FoundManifest) -> FoundManifest:
    """The same manifest as it is now: what was read before a lock was held may be out of date.

    Raises:
        BadInput: It is gone, or cannot be read.
    """
    if not found.path.is_file():
        why = "its manifest has gone meanwhile"
        raise _bad("manifest-unknown", found.manifest.tag, why, "look again: `snapplan list`")
    text = read_text_file(str(found.path))
    return evolve(found, manifest=found.view(read_manifest(text, str(found.path))))


def find_own(source: str, vm: VmStore, facts: Facts) -> FoundManifest:
    """The manifest of a tag that a VM has itself, else of a file.

    Raises:
        BadInput: See `find_manifest`; or the VM's disks hold that tag, and nobody recorded it
            (``snapshot-foreign``).
    """
    try:
        return find_manifest(source, [vm])
    except BadInput as error:
        holders = [disk.name for disk in facts.disks if disk.holding(source)]
        if error.code != "manifest-unknown" or not holders:
            raise
        words = f"{', '.join(holders)} holds it, and no manifest does: another tool made it"
        remedy = f"`snapplan adopt {shlex.quote(source)} --vm ADDR` makes a manifest of it"
        raise _bad("snapshot-foreign", source, words, remedy) from error


def find_on_vm(source: str, vm: VmStore, met: Met) -> FoundManifest:
    """The manifest of a tag that a VM has, or that one has whose images this VM lies on; else of a file.

    To be read, not to be deleted; the errors are those of `find_manifest`.
    """
    own = vm.manifest(source)
    if own is not None:
        return FoundManifest(own, vm.manifest_path(source), vm.view)
    for path, manifest in met.store.inherited(met.identity, vm):
        if manifest.tag == source:
            return FoundManifest(manifest, path)
    return find_own(source, vm, met.facts)


def _bad(code: str, source: str, why: str, remedy: str) -> BadInput:
    problem = Problem(code, source, why, remedy)
    return BadInput.of(problem)


def store_of(found: FoundManifest, store: Store) -> VmStore | None:
    """The VM's share of the store that keeps a manifest; None for a file elsewhere."""
    vm = VmStore(found.path.parent.parent, found.view)
    return vm if vm.folder.parent == store.root else None
