"""A finished run for a person and for programs: every part as the VM itself shows it."""

from __future__ import annotations

import shlex

from planner.present.outputs import decimal, output
from planner.present.visible import as_lines
from planner.present.words import bytes_text, table
from planner.program.program import Program
from planner.run.outcome import FrozenPart, Outcome

__all__ = ["outcome_text", "outcome_to_plain", "start_text"]


def outcome_text(program: Program, outcome: Outcome) -> str:
    """What a finished run made."""
    rows = [("DISK", "ID", "VM CLOCK", "MACHINE STATE", "FILE")]
    for part in outcome.parts:
        size = part.snapshot.vm_state_size_bytes
        clock = f"{part.snapshot.vm_clock_ns / 1e9:.9f} s"
        state = bytes_text(size) if size else "-"
        rows.append((part.disk, part.snapshot.id, clock, state, part.filename))
    lines: list[str] = [table(rows, "  ")] if outcome.parts else []
    lines += [
        f"  {part.disk}: {part.filename} is frozen; the guest writes to {part.overlay_file}"
        for part in outcome.frozen
    ]
    if outcome.stream is not None:
        stream = outcome.stream
        lines.append(f"  machine state: {bytes_text(stream.size_bytes)} in {stream.filename}")
    lines += [f"  warning: {warning}" for warning in program.resolution.warnings]
    pause = outcome.pause_us
    paused = "" if pause is None else f"; the guest was paused for {pause / 1000:.1f} ms"
    tag = program.resolution.tag
    return as_lines(
        [
            f"Snapshot {tag!r} is complete ({program.design}); the VM is {outcome.run_state}{paused}.",
            *lines,
        ]
    )


def start_text(outcome: Outcome) -> str:
    """How QEMU is to be started from now on; empty: as before.

    Started by its old command line it would write to a frozen image, and the snapshot with it.
    """
    if not outcome.frozen:
        return ""
    lines = [
        "From now on start QEMU on the overlay, never on the frozen image: change its command line to"
    ]
    for part in outcome.frozen:
        lines.append(f"  {part.disk}: {_start_option(part)}")
        lines.append(f"    in place of {part.filename}")
    return as_lines(lines)


def _start_option(part: FrozenPart) -> str:
    """The option of QEMU's that puts a disk on its overlay, written as the disk's own was."""
    file = part.overlay_file.replace(",", ",,")  # as QEMU's option parser wants it
    if part.node.startswith("@"):  # QEMU named the node: it came from -drive
        return shlex.join(["-drive", f"file={file},format=qcow2,..."])
    option = f"driver=qcow2,node-name={part.node},file.driver=file,file.filename={file}"
    return shlex.join(["-blockdev", option])


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
            "parts": [
                {
                    "disk": part.disk,
                    "node": part.node,
                    "file": part.filename,
                    "id": part.snapshot.id,
                    "tag": part.snapshot.name,
                    "vm-clock-ns": decimal(part.snapshot.vm_clock_ns),
                    "vm-state-size": decimal(part.snapshot.vm_state_size_bytes),
                }
                for part in outcome.parts
            ],
            "frozen": [
                {
                    "disk": part.disk,
                    "node": part.node,
                    "file": part.filename,
                    "format": part.format,
                    "virtual-size": decimal(part.size_bytes),
                    "overlay": part.overlay,
                    "overlay-file": part.overlay_file,
                }
                for part in outcome.frozen
            ],
            "start-with": [
                {
                    "disk": part.disk,
                    "file": part.overlay_file,
                    "format": "qcow2",
                    "in-place-of": part.filename,
                    "option": _start_option(part),
                }
                for part in outcome.frozen
            ],
            "stream": None
            if outcome.stream is None
            else {
                "file": outcome.stream.filename,
                "size": decimal(outcome.stream.size_bytes),
                "mapped-ram": outcome.stream.mapped,
            },
        },
    )
