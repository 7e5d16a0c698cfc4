"""The way back through libvirt, where a snapshot's machine state stands behind libvirt's header."""

from __future__ import annotations

import shlex

from planner.load.fresh_qemu import RestoredDisk, RestorePlan
from planner.parts.readied import Restoring
from planner.parts.stream import LIBVIRT

__all__ = ["virsh_commands", "virsh_lines"]

_EDITED = "domain.xml"


def virsh_commands(plan: RestorePlan) -> list[list[str]]:
    """What starts the domain once its disks are ready; empty: `virsh restore` does not take the file."""
    stream = plan.stream
    if stream is None or stream.format != LIBVIRT:
        return []
    if not _elsewhere(plan):
        return [["virsh", "restore", stream.file]]
    return [
        ["virsh", "save-image-dumpxml", stream.file, "--security-info"],
        ["virsh", "restore", stream.file, "--xml", _EDITED],
    ]


def virsh_lines(plan: RestorePlan) -> list[str]:
    """The same for a person; empty likewise."""
    commands = [shlex.join(command) for command in virsh_commands(plan)]
    if len(commands) == 1:
        return commands
    edits = [f"#   {_named(disk)}: write {disk.file}" for disk in _elsewhere(plan)]
    return [
        *(f"{command} > {_EDITED}" for command in commands[:1]),
        *([f"# in {_EDITED} (it holds the domain's passwords), in place of"] if edits else []),
        *edits,
        *commands[1:],
    ]


def _elsewhere(plan: RestorePlan) -> list[RestoredDisk]:
    """Disks that are ready in another file than the header names: of a second restore, or copied."""
    return [disk for disk in plan.disks if disk.file != _named(disk)]


def _named(disk: RestoredDisk) -> str:
    """The file that the header names."""
    return disk.part.restored(Restoring("", (), loads=False)).file
