"""A finished run for a person and for programs: every part as the VM itself shows it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from planner.host.huge_pages import Joined
from planner.present.outputs import decimal, output
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.present.words import bytes_text, clock_text
from planner.program.program import Program
from planner.run.outcome import Outcome

__all__ = [
    "joined_text",
    "joined_to_plain",
    "next_text",
    "outcome_text",
    "outcome_to_plain",
    "start_text",
]


def outcome_text(program: Program, outcome: Outcome, *, daemon: bool = False) -> str:
    """What a finished run made, on a VM or on a storage daemon."""
    rows = [("DISK", "ID", "VM CLOCK", "MACHINE STATE", "FILE")]
    for part in outcome.parts:
        if part.instant_ns is not None:
            clock = clock_text(part.instant_ns)
            state = bytes_text(part.state_bytes) if part.state_bytes else "-"
            rows.append((part.disk or "-", part.plain_id, clock, state, part.filename))
    lines: list[str] = [table(rows, "  ")] if len(rows) > 1 else []
    for part in outcome.parts:
        if part.instant_ns is None:
            size = f"{bytes_text(part.state_bytes)} in " if part.state_bytes else ""
            lines.append(f"  {part.disk or 'machine state'}: {size}{part.filename}{part.more}")
    lines += [f"  warning: {warning}" for warning in program.resolution.warnings]
    pause = outcome.pause_us
    paused = "" if pause is None else f"; the guest was paused for {pause / 1000:.1f} ms"
    tag = program.resolution.tag
    state = "the daemon serves on" if daemon else f"the VM is {outcome.run_state}"
    return as_lines(
        [
            f"Snapshot {tag!r} is complete ({program.design}); {state}{paused}.",
            *lines,
        ]
    )


def start_text(outcome: Outcome, *, daemon: bool = False) -> str:
    """How QEMU, or a storage daemon, is to be started from now on; empty: as before.

    Started by its old command line it would write to a frozen image, and the snapshot with it.
    """
    changed = [part for part in outcome.parts if part.start_option]
    if not changed:
        return ""
    who = "the storage daemon" if daemon else "QEMU"
    lines = [
        f"From now on start {who} on the overlay, never on the frozen image: change its command line to"
    ]
    for part in changed:
        lines.append(f"  {part.disk}: {part.start_option}")
        lines.append(f"    in place of {part.filename}")
    return as_lines(lines)


def next_text(program: Program, at: Sequence[str]) -> str:
    """What is done with a snapshot next, as commands to be typed.

    Args:
        program: What made it.
        at: The options that name its VM and its store.
    """
    resolution = program.resolution
    tag, where = shlex.quote(resolution.tag), shlex.join(at)
    without_vm = shlex.join(at[2:])  # the store stays
    load = f"snapplan load {tag} {where}"
    if resolution.overlays or resolution.copies or not resolution.vmstate:
        how = "" if resolution.has_machine_state else " --offline"
        load = f"snapplan load {tag}{how} {without_vm}".rstrip() + "   (with the VM off)"
    merged = " --overlays commit" if resolution.overlays else ""
    return as_lines(
        [
            "Next:",
            f"  snapplan verify {tag} {where}",
            f"  {load}",
            f"  snapplan delete {tag} {where}{merged}",
        ]
    )


def outcome_to_plain(program: Program, outcome: Outcome) -> dict[str, object]:
    """What `outcome_text` says, as plain values."""
    return output(
        "apply",
        {
            "tag": program.resolution.tag,
            "design": program.design,
            "run-state": outcome.run_state,
            "pause-us": outcome.pause_us,
            "warnings": list(program.resolution.warnings),
            "parts": _plain(outcome, "parts"),
            "frozen": _plain(outcome, "frozen"),
            "start-with": [
                {
                    "disk": part.disk,
                    "file": part.start_file,
                    "format": "qcow2",
                    "in-place-of": part.filename,
                    "option": part.start_option,
                }
                for part in outcome.parts
                if part.start_option
            ],
            "stream": next(iter(_plain(outcome, "stream")), None),
            "vmstate-image": next(iter(_plain(outcome, "vmstate-image")), None),
            **({"copies": _plain(outcome, "copies")} if program.resolution.copies else {}),
        },
    )


def _plain(outcome: Outcome, key: str) -> list[dict[str, object]]:
    return [
        {
            name: decimal(value)
            if isinstance(value, int) and not isinstance(value, bool)
            else value
            for name, value in part.to_plain().items()
        }
        for part in outcome.parts
        if part.plain_key == key
    ]


def joined_text(joined: Joined) -> str:
    """What became of the guest's memory."""
    if joined.note:
        return f"note: {joined.note}"
    before, after = bytes_text(joined.before_bytes), bytes_text(joined.after_bytes)
    return f"Memory in huge pages: {after} (before: {before})."


def joined_to_plain(joined: Joined) -> dict[str, object]:
    """What `joined_text` says, as plain values."""
    return {
        "before-bytes": decimal(joined.before_bytes),
        "after-bytes": decimal(joined.after_bytes),
        "note": joined.note,
    }
