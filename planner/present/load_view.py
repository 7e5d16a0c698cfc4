"""A finished load, for a person and for programs."""

from __future__ import annotations

from collections.abc import Iterable

from planner.load.load_checks import LoadedPart, LoadPlan
from planner.parts.internal import InternalSnapshot
from planner.parts.manifest import Manifest
from planner.present.outputs import decimal, output
from planner.present.outside_view import left_out_lines, left_out_to_plain
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import clock_text
from planner.run.outcome import Outcome

__all__ = ["load_intent_text", "load_text", "load_to_plain", "reverted_text", "reverted_to_plain"]


def load_intent_text(order: LoadPlan) -> str:
    """What a load is about to do, in a sentence without its full stop."""
    disks = ", ".join(f"{part.disk} (id {part.snapshot_id})" for part in order.parts)
    what = [f"this takes the VM back to snapshot {order.tag!r}: {disks or 'its machine state'}"]
    if order.way_back:
        what.insert(0, f"this saves what is there now as {order.way_back!r}")
    else:
        what.append("what the guest did since is lost")
    if order.resets:
        what.append("the VM is reset first")
    what.append(f"then it is {order.run_state_after}")
    return "; ".join(what)


def load_text(order: LoadPlan, outcome: Outcome) -> str:
    """What was loaded, and how the VM is now."""
    parts = [(p.disk, p.snapshot_id, clock_text(p.vm_clock_ns)) for p in order.parts]
    stands = ": it stands, and `cont` lets it run" if outcome.run_state == "restore-vm" else ""
    lines = [
        f"Snapshot {order.tag!r} is loaded; the VM is {outcome.run_state}{stands}.",
        table([("DISK", "ID", "VM CLOCK"), *parts], "  "),
    ]
    if order.resets:
        lines.append("It was reset first: from its run state no guest could have run.")
    lines += left_out_lines(order)
    if order.way_back:
        lines.append(f"What was there before is snapshot {order.way_back!r}.")
    return as_lines(lines)


def load_to_plain(order: LoadPlan, outcome: Outcome) -> dict[str, object]:
    """What `load_text` says, as plain values."""
    return output(
        "load",
        {
            "tag": order.tag,
            "run-state": outcome.run_state,
            "way-back": order.way_back,
            "reset": order.resets,
            "outside": left_out_to_plain(order.outside),
            "parts": _parts_to_plain(order.parts),
        },
    )


def reverted_text(manifest: Manifest, parts: tuple[InternalSnapshot, ...]) -> str:
    """What was reverted offline."""
    rows = [("DISK", "ID", "FILE"), *[(part.disk, part.snapshot_id, part.file) for part in parts]]
    lines = [
        f"Snapshot {manifest.tag!r} is loaded.",
        table(rows, "  "),
        *left_out_lines(manifest),
    ]
    return as_lines(lines)


def reverted_to_plain(manifest: Manifest, parts: tuple[InternalSnapshot, ...]) -> dict[str, object]:
    """What `reverted_text` says, as plain values."""
    return output(
        "load",
        {
            "tag": manifest.tag,
            "outside": left_out_to_plain(manifest.outside),
            "parts": _parts_to_plain(parts),
        },
    )


def _parts_to_plain(parts: Iterable[LoadedPart | InternalSnapshot]) -> list[dict[str, object]]:
    return [
        {"disk": part.disk, "id": part.snapshot_id, "vm-clock-ns": decimal(part.vm_clock_ns)}
        for part in parts
    ]
