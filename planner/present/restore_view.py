"""A restore in a fresh QEMU, for a person and for programs."""

from __future__ import annotations

import json
import shlex

from planner.load.fresh_qemu import RestoredDisk, RestorePlan, qmp_steps, reading_settings
from planner.load.started import Restored
from planner.parts.readied import Readied
from planner.present.outputs import output
from planner.present.outside_view import left_out_lines, left_out_to_plain
from planner.present.visible import as_lines
from planner.present.words import table
from planner.program.settings import settings_commands

__all__ = ["restore_text", "restore_to_plain", "restored_text", "restored_to_plain"]

_WAIT = "query-status"


def restore_text(plan: RestorePlan, *, ready: bool) -> str:
    """What there is to do; where the disks are ready, what is left of it."""
    tag = plan.manifest.tag
    lines = [f"Snapshot {tag!r} goes back into a fresh QEMU; no VM may have its disks open."]
    if not ready:
        lines += ["1. The disks:", *(f"   {line}" for line in _disk_lines(plan))]
    arguments = " ".join(plan.arguments)
    lines.append(f"2. QEMU, as it was started before, with {arguments} and these images:")
    rows = [(disk.part.disk, disk.format, disk.file) for disk in plan.disks]
    lines += [table([("DISK", "FORMAT", "FILE"), *rows], "   "), "3. QMP:"]
    lines += [f"   {line}" for line in _qmp_lines(plan)]
    if not ready:
        lines.append("`snapplan load --offline` does 1; `--run TEMPLATE` does all of it.")
    lines += left_out_lines(plan.manifest.outside)
    return as_lines(lines)


def _disk_lines(plan: RestorePlan) -> list[str]:
    lines = []
    for disk in plan.disks:
        command = _command(disk)
        if disk in plan.loses:
            lines.append(f"# what {disk.part.disk} holds now is lost; --copy-to FOLDER keeps it")
        lines.append(shlex.join(command) if command else f"# {disk.part.disk}: nothing; see 3")
    return lines


def _command(disk: RestoredDisk) -> list[str]:
    return disk.part.ready_command(disk.how, disk.file, disk.format)


def _qmp(plan: RestorePlan) -> list[dict[str, object]]:
    qemu = plan.manifest.qemu
    commands: list[dict[str, object]] = [
        {"execute": c, "arguments": a} for c, a in qmp_steps(plan, qemu)
    ]
    if plan.loads:
        devices = [d.part.node for d in plan.disks if d.how is not Readied.NEW_OVERLAY]
        vmstate = next(d.part.node for d in plan.disks if d.part.holds_state)
        arguments = {"job-id": "load", "tag": plan.manifest.tag}
        more = {"vmstate": vmstate, "devices": devices}
        commands.append({"execute": "snapshot-load", "arguments": {**arguments, **more}})
    return commands


def _qmp_lines(plan: RestorePlan) -> list[str]:
    lines = [json.dumps(command) for command in _qmp(plan)]
    if plan.stream is not None:
        file = plan.stream.file
        if any('"getfd"' in line for line in lines):
            lines.insert(
                0, f"# with getfd goes a descriptor (SCM_RIGHTS) of {file}, open for reading;"
            )
            lines.insert(
                1, "# or: no QMP, and `-incoming fd:3` with that descriptor inherited as 3"
            )
        lines.append(f"# wait until {_WAIT} says something else than inmigrate: paused")
    if plan.loads:
        if any(disk.part.node.startswith("@") for disk in plan.disks):
            lines.insert(
                0, "# @NAME stands for the node of disk NAME: query-named-block-nodes shows it"
            )
        lines.append("# wait until query-jobs shows the job concluded, without an error")
    return [*lines, *(json.dumps(command) for command in _qmp_last(plan))]


def _qmp_last(plan: RestorePlan) -> list[dict[str, object]]:
    """What comes once the state is read: the settings as they were, or no snapshot could be loaded."""
    settings = reading_settings(plan)
    before = settings_commands(settings.capabilities_before, settings.parameters_before)
    last: list[dict[str, object]] = [{"execute": c, "arguments": a} for c, a in before]
    return [*last, {"execute": "cont"}]


def restore_to_plain(plan: RestorePlan, *, ready: bool) -> dict[str, object]:
    """What `restore_text` says, as plain values."""
    return output(
        "load",
        {
            "tag": plan.manifest.tag,
            "ready": ready,
            "outside": left_out_to_plain(plan.manifest.outside),
            "disks": [
                {
                    "disk": disk.part.disk,
                    "how": disk.how.value,
                    "loses": disk in plan.loses,
                    "file": disk.file,
                    "format": disk.format,
                    "command": _command(disk),
                }
                for disk in plan.disks
            ],
            "arguments": list(plan.arguments),
            "stream": plan.stream.file if plan.stream else None,
            "qmp": [json.dumps(command) for command in (*_qmp(plan), *_qmp_last(plan))],
        },
    )


def restored_text(restored: Restored) -> str:
    """What was restored, and where its VM is."""
    plan, pid = restored.plan, restored.pid
    rows = [(disk.part.disk, disk.how.value, disk.file) for disk in plan.disks]
    head = (
        f"Snapshot {plan.manifest.tag!r} is restored; its QEMU (pid {pid}) is {restored.run_state}"
    )
    disks = table([("DISK", "HOW", "FILE"), *rows], "  ")
    return as_lines(
        [f"{head} at {restored.socket}.", disks, *left_out_lines(plan.manifest.outside)]
    )


def restored_to_plain(restored: Restored) -> dict[str, object]:
    """What `restored_text` says, as plain values."""
    state = {"run-state": restored.run_state, "pid": restored.pid}
    return {
        **restore_to_plain(restored.plan, ready=True),
        **state,
        "qmp-socket": restored.socket,
    }
