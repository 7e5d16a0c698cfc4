"""A VM for a person: its disks and what each can do."""

from __future__ import annotations

import json

from planner.inspect.draft import Draft, draft_of
from planner.inspect.inspecting import inspection_of
from planner.model.facts import Disk, Facts
from planner.model.request import (
    Exclude,
    External,
    ExternalMachineState,
    ImageMachineState,
    InternalMachineState,
    MachineState,
    NoMachineState,
)
from planner.present.outputs import decimal, output
from planner.present.outside_view import draft_outside, outside_lines, outside_to_plain
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import bytes_text

__all__ = [
    "draft_request",
    "inspection_to_plain",
    "inspect_text",
]


def inspect_text(facts: Facts) -> str:
    """What the VM is, and for each disk whether it can hold an internal snapshot, or why not."""
    device_head = "EXPORT" if facts.is_daemon else "DEVICE"
    rows = [("DISK", "FORMAT", "SIZE", device_head, "INTERNAL SNAPSHOT")]
    for inspected in inspection_of(facts).disks:
        disk, why_not = inspected.disk, inspected.why_not
        device = disk.drive_id or disk.qdev_id or disk.qdev or "(no device)"
        rows.append(
            (
                disk.name,
                disk.driver,
                bytes_text(disk.virtual_size_bytes),
                device,
                f"no: {why_not}" if why_not else _yes(disk),
            )
        )
    lines = [_head(facts), table(rows)]
    lines += outside_lines(facts)
    lines += [f"machine state cannot be saved: {reason}" for reason in facts.blocked_reasons]
    return as_lines(lines)


def _head(facts: Facts) -> str:
    if facts.is_daemon:
        return f"qemu-storage-daemon {facts.qemu}: disks that it exports, and no machine"
    return f"QEMU {facts.qemu}, machine {facts.machine}, {facts.run_state}"


def _yes(disk: Disk) -> str:
    held = f"{len(disk.snapshots)} held"
    return f"yes ({held}; no machine state: encrypted)" if disk.encrypted else f"yes ({held})"


def inspection_to_plain(facts: Facts) -> dict[str, object]:
    """What `inspect_text` says, as plain values."""
    return output(
        "inspect",
        {
            "qemu": str(facts.qemu),
            "machine": facts.machine,
            "run-state": facts.run_state,
            "blocked-reasons": list(facts.blocked_reasons),
            "outside": outside_to_plain(facts),
            "disks": [
                {
                    "name": disk.name,
                    "names": list(disk.names),
                    "driver": disk.driver,
                    "virtual-size": decimal(disk.virtual_size_bytes),
                    "read-only": disk.read_only,
                    "attached": disk.attached,
                    "internal": not inspected.why_not,
                    "why-not": inspected.why_not,
                    "machine-state": inspected.holds_machine_state,
                    "encrypted": disk.encrypted,
                    "snapshots": len(disk.snapshots),
                }
                for inspected in inspection_of(facts).disks
                for disk in (inspected.disk,)
            ],
        },
    )


def draft_request(facts: Facts, tag: str, draft: Draft | None = None) -> str:
    """A request for all that the guest can write to, as YAML with a reason beside each disk."""
    draft = draft or draft_of(facts, tag)
    with_state = not isinstance(draft.machine_state, NoMachineState)
    return as_lines(
        [
            *(f"# {line}" for line in draft.notes),
            f"tag: {_scalar(tag)}",
            f"machine-state: {_state(draft.machine_state)}",
            *_draft_disks(draft, _draft_outside(facts, machine_state=with_state)),
            "others: refuse                # refuse | exclude | internal",
            "existing-tag: refuse          # refuse | replace",
            "run-state-after: as-before    # as-before | running | paused",
            "",
        ]
    )


def _state(state: MachineState) -> str:
    if isinstance(state, InternalMachineState):
        return f"{{internal: {_scalar(state.disk)}}}"
    if isinstance(state, ImageMachineState):
        return f"{{image: {_scalar(state.path)}}}"
    if isinstance(state, ExternalMachineState):
        return f"{{external: {_scalar(state.path)}, capture: {state.capture}}}"
    return "none"


def _draft_disks(draft: Draft, outside: list[str]) -> list[str]:
    lines = ["disks:"]
    for disk in draft.disks:
        wish = disk.wish
        said = "exclude" if isinstance(wish, Exclude) else "internal"
        if isinstance(wish, External):
            said = f"{{external: {_scalar(wish.path)}}}"
        comment = f"  # {disk.why}" if disk.why else ""
        lines.append(f"  {_scalar(disk.name)}: {said}{comment}")
    lines += outside
    return lines if len(lines) > 1 else ["disks: {}"]


def _draft_outside(facts: Facts, *, machine_state: bool) -> list[str]:
    """Lines for what can be no part, each with what that costs; whoever reads them decides."""
    missed = draft_outside(facts, machine_state=machine_state)
    if not missed:
        return []
    lines = [f"  {_scalar(name)}: exclude  # {why}" for name, why in missed]
    return [
        "  # Outside of QEMU's block layer, so in no snapshot: a load takes the guest back, and",
        "  # leaves these as they then are. Where the guest cannot do with that, detach them.",
        *lines,
    ]


def _scalar(text: str) -> str:
    """A YAML scalar; quoted as JSON does wherever a plain one could be read otherwise."""
    simple = text.isascii() and text.replace("-", "").replace("_", "").isalnum()
    words = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
    if simple and text[0].isalpha() and text.lower() not in words:
        return text
    # YAML takes JSON's escapes, but not a character that JSON writes as two halves.
    return json.dumps(text, ensure_ascii=not text.isprintable())
