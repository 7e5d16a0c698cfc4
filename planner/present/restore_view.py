"""A restore in a fresh QEMU, for a person and for programs."""

from __future__ import annotations

import json
import shlex

from planner.load.fresh_qemu import RestoredDisk, RestorePlan, qmp_steps, reading_settings
from planner.load.started import Restored
from planner.load.vmstate_node import reading_node
from planner.parts.readied import Readied
from planner.parts.vmstate_image import VmstateImage
from planner.present.libvirt_restore import virsh_commands, virsh_lines
from planner.present.outputs import output
from planner.present.outside_view import left_out_lines, left_out_to_plain
from planner.present.tables import table
from planner.present.visible import as_lines
from planner.program.resolution import overlay_node_name, temporary_path
from planner.program.settings import settings_commands

__all__ = ["restore_text", "restore_to_plain", "restored_text", "restored_to_plain"]

_WAIT = "query-status"
_SPARE_BYTES = 2**30
_ALIGNED_BYTES = 2**16


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
    if by_libvirt := virsh_lines(plan):
        lines += [
            "Or through libvirt, in place of 2 and 3:",
            *(f"   {each}" for each in by_libvirt),
        ]
    if not ready:
        lines.append("`snapplan load --offline` does 1; `--run LINE` does all of it.")
    lines += left_out_lines(plan.manifest)
    return as_lines(lines)


def _disk_lines(plan: RestorePlan) -> list[str]:
    lines = []
    for disk in plan.disks:
        command = _command(disk)
        if disk in plan.loses:
            lines.append(f"# what {disk.part.disk} holds now is lost; --copy-to FOLDER keeps it")
        lines.append(shlex.join(command) if command else f"# {disk.part.disk}: nothing; see 3")
    return lines


def _layer(image: VmstateImage) -> str:
    return temporary_path(image.file)


def _layer_command(image: VmstateImage) -> list[str]:
    """How a person makes the layer: larger than the image's file, for what QEMU adds to that."""
    size = 2 * (image.length_bytes or image.state_bytes) + _SPARE_BYTES
    new = ("-f", "qcow2", "--", _layer(image), str(size - size % _ALIGNED_BYTES))
    return ["qemu-img", "create", "-q", *new]


def _command(disk: RestoredDisk) -> list[str]:
    return disk.part.ready_command(disk.how, disk.file, disk.format)


def _qmp(plan: RestorePlan) -> list[dict[str, object]]:
    qemu = plan.manifest.qemu
    commands: list[dict[str, object]] = [
        {"execute": c, "arguments": a} for c, a in qmp_steps(plan, qemu)
    ]
    if plan.loads:
        devices = [d.part.node for d in plan.disks if d.how is not Readied.NEW_OVERLAY]
        vmstate = next((d.part.node for d in plan.disks if d.part.holds_state), "")
        if plan.image is not None:
            vmstate = _own_node(plan, plan.image)
            devices.insert(0, vmstate)
            node = reading_node(vmstate, plan.image.file, _layer(plan.image))
            commands.append({"execute": "blockdev-add", "arguments": node})
        arguments = {"job-id": "load", "tag": plan.manifest.tag}
        more = {"vmstate": vmstate, "devices": devices}
        commands.append({"execute": "snapshot-load", "arguments": {**arguments, **more}})
    return commands


def _own_node(plan: RestorePlan, image: VmstateImage) -> str:
    return overlay_node_name(plan.manifest.tag, image.file)


def _qmp_lines(plan: RestorePlan) -> list[str]:
    lines = [json.dumps(command) for command in _qmp(plan)]
    if plan.stream is not None:
        file, begins = plan.stream.file, plan.stream.begins_bytes
        file += f" at its byte {begins}" if begins else ""
        if any('"getfd"' in line for line in lines):
            lines.insert(
                0, f"# with getfd goes a descriptor (SCM_RIGHTS) of {file}, open for reading;"
            )
            lines.insert(
                1, "# or: no QMP, and `-incoming fd:3` with that descriptor inherited as 3"
            )
        lines.append(f"# wait until {_WAIT} says something else than inmigrate: paused")
    if plan.image is not None:
        what = (
            "beforehand, a throw-away layer for what QEMU writes while it reads the machine state"
        )
        lines.insert(0, f"# {what}: {shlex.join(_layer_command(plan.image))}")
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
    if plan.image is not None:
        gone = {"node-name": _own_node(plan, plan.image)}
        last.append({"execute": "blockdev-del", "arguments": gone})
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
            "vmstate-image": _image_to_plain(plan.image),
            **({"virsh": by_libvirt} if (by_libvirt := virsh_commands(plan)) else {}),
            "qmp": [json.dumps(command) for command in (*_qmp(plan), *_qmp_last(plan))],
        },
    )


def _image_to_plain(image: VmstateImage | None) -> dict[str, object] | None:
    if image is None:
        return None
    return {"file": image.file, "layer": _layer(image), "command": _layer_command(image)}


def restored_text(restored: Restored) -> str:
    """What was restored, and where its VM is."""
    plan, pid = restored.plan, restored.pid
    rows = [(disk.part.disk, disk.how.value, disk.file) for disk in plan.disks]
    head = (
        f"Snapshot {plan.manifest.tag!r} is restored; its QEMU (pid {pid}) is {restored.run_state}"
    )
    disks = table([("DISK", "HOW", "FILE"), *rows], "  ")
    return as_lines(
        [
            f"{head} at {restored.socket}.",
            disks,
            *left_out_lines(plan.manifest),
        ]
    )


def restored_to_plain(restored: Restored) -> dict[str, object]:
    """What `restored_text` says, as plain values."""
    state = {"run-state": restored.run_state, "pid": restored.pid}
    return {
        **restore_to_plain(restored.plan, ready=True),
        **state,
        "qmp-socket": restored.socket,
    }
