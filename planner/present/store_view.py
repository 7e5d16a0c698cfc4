"""What the store alone says of VMs and their snapshots, for a person and for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.parts.manifest import Manifest
from planner.present.dates import date_text
from planner.present.outputs import decimal, output
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import bytes_text, problem_to_plain
from planner.store.naming import StoredSnapshots

__all__ = ["store_text", "store_to_plain"]


def store_text(stored: Sequence[StoredSnapshots]) -> str:
    """One block a VM."""
    lines = [line for each in stored for line in _lines(each)]
    if not lines:
        return "no snapshots are recorded"
    return as_lines([*lines, "as recorded; with --vm ADDR they are compared with the VM's disks"])


def _lines(stored: StoredSnapshots) -> Iterator[str]:
    vm = stored.vm
    about = [vm.uuid] if vm.uuid and vm.uuid != vm.called else []
    about += [f"last met at {vm.address}"] if vm.address else []
    yield f"{vm.called}  ({', '.join(about)})" if about else vm.called
    rows = [("TAG", "TAKEN", "AFTER", "DISKS", "MACHINE STATE")]
    rows += [_row(stored, manifest) for manifest in stored.manifests]
    yield table(rows, "  ") if stored.manifests else "  no snapshots"
    yield from (f"  not read: {problem}" for problem in stored.problems)
    if stored.unfinished:
        yield f"  {stored.unfinished} unfinished: `snapplan recover`"


def _row(stored: StoredSnapshots, manifest: Manifest) -> tuple[str, str, str, str, str]:
    disks = ", ".join(part.disk for part in manifest.parts if part.disk)
    taken, after = date_text(manifest.ended_ns) or "-", stored.parent_of(manifest) or "-"
    tag = f"{manifest.tag} (current)" if manifest.tag == stored.current_tag else manifest.tag
    return tag, taken, after, disks or "-", _state(manifest)


def _state(manifest: Manifest) -> str:
    part = manifest.vmstate
    if part is None:
        return "-"
    where = f"in {part.disk}" if part.disk else part.file
    ready = ", template" if manifest.template is not None else ""
    return f"{bytes_text(part.state_bytes)} {where}{ready}"


def store_to_plain(stored: Sequence[StoredSnapshots]) -> dict[str, object]:
    """What `store_text` says, as plain values."""
    return output(
        "list",
        {
            "snapshots": [],
            "problems": [problem_to_plain(p) for each in stored for p in each.problems],
            "unchecked": ["the disks: no VM was asked"],
            "vms": [_vm_to_plain(each) for each in stored],
        },
    )


def _vm_to_plain(stored: StoredSnapshots) -> dict[str, object]:
    return {
        "name": stored.vm.name,
        "uuid": stored.vm.uuid,
        "key": stored.vm.vm.vm_key,
        "address": stored.vm.address,
        "snapshots": [_to_plain(stored, manifest) for manifest in stored.manifests],
        "unfinished": stored.unfinished,
    }


def _to_plain(stored: StoredSnapshots, manifest: Manifest) -> dict[str, object]:
    return {
        "tag": manifest.tag,
        "description": manifest.description,
        "taken-ns": decimal(manifest.ended_ns),
        "parent": stored.parent_of(manifest) or None,
        "current": manifest.tag == stored.current_tag,
        "machine-state": manifest.vmstate is not None,
        "template": manifest.template is not None,
        "parts": [
            {"kind": part.kind, "disk": part.disk, "file": part.file, "id": part.plain_id}
            for part in manifest.parts
        ],
    }
