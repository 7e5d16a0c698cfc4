"""Finds the manifest of a snapshot: by its tag in a store, else by its file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from planner.errors import BadInput, Problem
from planner.host.input import read_text_file
from planner.parts.manifest import Manifest
from planner.parts.manifest_text import read_manifest
from planner.store.meeting import Met
from planner.store.store import Store, View, VmStore, as_plain

__all__ = ["FoundManifest", "find_manifest", "find_on_vm", "read_again", "store_of"]


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
        files = ", ".join(str(each.path) for each in found)
        raise _bad("manifest-ambiguous", source, f"several VMs have one: {files}", "give its file")
    if found:
        return found[0]
    if not Path(source).is_file():
        known = sorted({each.tag for store in stores for each in store.manifests().found})
        remedy = f"known: {', '.join(known)}" if known else "the store has none; give its file"
        raise _bad("manifest-unknown", source, "no manifest has this tag, nor this file", remedy)
    view = stores[0].view if stores else as_plain
    return FoundManifest(view(read_manifest(read_text_file(source), source)), Path(source), view)


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


def find_on_vm(source: str, vm: VmStore, met: Met) -> FoundManifest:
    """The manifest of a tag that a VM has, or that one has whose images this VM lies on; else of a file.

    To be read, not to be deleted; the errors are those of `find_manifest`.
    """
    if vm.manifest(source) is None:
        for path, manifest in met.store.inherited(met.identity, vm):
            if manifest.tag == source:
                return FoundManifest(manifest, path)
    return find_manifest(source, [vm])


def _bad(code: str, source: str, why: str, remedy: str) -> BadInput:
    problem = Problem(code, source, why, remedy)
    return BadInput(str(problem), problems=(problem,), code=code)


def store_of(found: FoundManifest, store: Store) -> VmStore | None:
    """The VM's share of the store that keeps a manifest; None for a file elsewhere."""
    vm = VmStore(found.path.parent.parent, found.view)
    return vm if vm.folder.parent == store.root else None
