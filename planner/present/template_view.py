"""A template that was made or dropped, for a person and for programs."""

from __future__ import annotations

from planner.model.file_record import FileRecord
from planner.parts.manifest import Manifest
from planner.parts.template import Template
from planner.present.outputs import decimal, output
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import bytes_text

__all__ = ["template_text", "template_to_plain"]


def template_text(manifest: Manifest) -> str:
    """What there is for instant restore now."""
    template = manifest.template
    if template is None:
        return as_lines([f"snapshot {manifest.tag!r} has no template any more; it stays as it was"])
    rows = [("WHAT", "SIZE", "FILE")]
    rows += [
        (f"memory {each.id}", bytes_text(each.size_bytes), each.file) for each in template.memory
    ]
    state = template.state
    rows.append(("devices", bytes_text(state.record.size_bytes), state.file))
    rows += [
        (
            f"disk {disk.disk}",
            bytes_text(disk.record.size_bytes) if disk.record.known else "-",
            f"{disk.file}{'' if disk.own else ' (the frozen image itself)'}",
        )
        for disk in template.disks
    ]
    head = f"snapshot {manifest.tag!r} is ready for instant restore, by QEMU {template.qemu}:"
    return as_lines([head, table(rows, "  ")])


def template_to_plain(manifest: Manifest) -> dict[str, object]:
    """What `template_text` says, as plain values."""
    template = manifest.template
    return output(
        "template",
        {
            "tag": manifest.tag,
            "template": None if template is None else _plain(template),
        },
    )


def _plain(template: Template) -> dict[str, object]:
    return {
        "qemu": str(template.qemu),
        "made-ns": decimal(template.made_ns),
        "words": list(template.words),
        "memory": [
            {"id": each.id, "bytes": decimal(each.size_bytes), **_file(each.file, each.record)}
            for each in template.memory
        ],
        "state": {
            "bytes": decimal(template.state.record.size_bytes),
            **_file(template.state.file, template.state.record),
        },
        "disks": [
            {
                "disk": disk.disk,
                "format": disk.format,
                "own": disk.own,
                **_file(disk.file, disk.record),
            }
            for disk in template.disks
        ],
    }


def _file(file: str, record: FileRecord) -> dict[str, object]:
    return {"file": file, "sha256": record.sha256}
