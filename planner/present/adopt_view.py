"""A snapshot that was adopted, for a person and for programs."""

from __future__ import annotations

from planner.parts.manifest import Manifest
from planner.present.dates import date_text
from planner.present.outputs import decimal, output
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import bytes_text

__all__ = ["adopted_text", "adopted_to_plain"]


def adopted_text(manifest: Manifest, path: str) -> str:
    """What is recorded now, and what nobody could check."""
    rows = [("DISK", "ID", "MACHINE STATE", "FILE")]
    rows += [
        (
            part.disk,
            part.plain_id,
            bytes_text(part.state_bytes) if part.holds_state else "-",
            part.file,
        )
        for part in manifest.parts
    ]
    taken = date_text(manifest.ended_ns)
    lines = [f"Snapshot {manifest.tag!r} is recorded{f', taken {taken}' if taken else ''}."]
    lines.append(table(rows, "  "))
    lines += [f"  not checked: {what}" for what in manifest.unproved]
    return as_lines([*lines, f"Manifest: {path}"])


def adopted_to_plain(manifest: Manifest, path: str) -> dict[str, object]:
    """What `adopted_text` says, as plain values."""
    return output(
        "adopt",
        {
            "tag": manifest.tag,
            "taken-ns": decimal(manifest.ended_ns),
            "parts": [
                {
                    "disk": part.disk,
                    "file": part.file,
                    "id": part.plain_id,
                    "state": part.holds_state,
                }
                for part in manifest.parts
            ],
            "excluded": list(manifest.excluded),
            "unproved": list(manifest.unproved),
            "manifest": path,
        },
    )
