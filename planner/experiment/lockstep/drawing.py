"""Draws the commands of a lockstep from a seed: good ones, and ones that QEMU has to refuse.

The VM that they are for has a disk of each kind (`KINDS`).  A seed gives the same commands on each
machine and each QEMU, but for what a QEMU's version cannot take (loads through a throttle node).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from backends.qemu_facts.lab.topology import DiskKind

__all__ = ["DRIVE_NODE", "KINDS", "OVERLAYS", "Arguments", "Command", "Sequence"]

Arguments = dict[str, Any]
Command = tuple[str, Arguments]
"""A command and its arguments; ``@DIR@`` in them stands for the folder of the images."""

KINDS = {
    "disk0": DiskKind.QCOW2,
    "disk1": DiskKind.QCOW2,
    "raw0": DiskKind.RAW,
    "ro0": DiskKind.READ_ONLY,
    "back0": DiskKind.BACKED,
    "thr0": DiskKind.FILTERED,
    "df0": DiskKind.DATA_FILE,
    "drv0": DiskKind.DRIVE,
    "free0": DiskKind.UNATTACHED,
}
OVERLAYS = ("ov0", "ov1", "ov2")
DRIVE_NODE = "#drive"
GOOD = ("disk0", "disk1", "back0", "free0", "thr0-format", DRIVE_NODE)
NODES = (
    *GOOD,
    "raw0",
    "ro0",
    "thr0",
    "df0",
    "back0-backing",
    "disk0-file",
    "nope",
    "drv0",
    *OVERLAYS,
)
ROOTS = ("disk0", "disk1", "back0", "thr0", "drv0", "free0")
TAGS = ("a", "b", "1", "2", "tag-" + "x" * 260, "")
OVERLAY_ON = ("raw0", "disk1", "thr0", "disk0", "drv0", "ov0")
COMMIT_MEMBERS = {
    "auto-dismiss": (True, False),
    "auto-finalize": (True, False),
    "base-node": ("disk1", "raw0", "thr0", "thr0-format", DRIVE_NODE, "ov0", "nope"),
    "top-node": (*OVERLAYS, "nope"),
    "filter-node-name": ("flt", "flt", "disk0", "1bad"),
    "speed": (0, 0, -1),
    "backing-file": ("x",),
}


class Sequence:
    """Draws commands about snapshots, overlays and commits from a seed.

    Attributes:
        random: What is drawn from; who drives the sequence may draw from it, too.
        FILES: The images beside the disks that are there before.
    """

    FILES: tuple[str, ...] = OVERLAYS

    def __init__(self, seed: int, version: tuple[int, int]) -> None:
        self.random = random.Random(seed)  # noqa: S311 - to be replayed; no secret
        self._version = version
        self._jobs = 0
        self._last_job = self._last_commit = "none"
        self._queue: list[Command] = []

    def next(self) -> Command:
        """The next command, whatever became of those before."""
        if self._queue and self.random.random() < 0.6:
            return self._queue.pop(0)
        return self.random.choice(self._kinds())()

    def _kinds(self) -> list[Callable[[], Command]]:
        """What is drawn, each as often as it stands here."""
        return (
            [self._save] * 6
            + [self._load] * 4
            + [self._delete] * 2
            + [self._transaction] * 5
            + [self._internal] * 2
            + [self._delete_internal] * 4
            + [self._stop, self._cont, self._cont, self._dismiss]
            + [self._bad] * 2
            + [self._add_overlay, self._put_overlay, self._put_overlay, self._remove_node]
            + [self._commit, self._complete, self._complete, self._overlay_and_undo]
            + [self._overlay_by_file, self._overlay_by_file, self._human]
        )

    def _nodes(self, most: int = 3) -> list[str]:
        pool = GOOD if self.random.random() < 0.75 else NODES
        return [self.random.choice(pool) for _ in range(self.random.randint(1, most))]

    def _job(self, command: str, **arguments: Any) -> Command:
        self._jobs += 1
        self._last_job = f"job{self._jobs}"
        if self.random.random() < 0.04:
            self._last_job = self.random.choice(("1x", "", "a b", "j_1"))
        return command, {"job-id": self._last_job, **arguments}

    def _tag(self) -> str:
        return self.random.choice(TAGS if self.random.random() < 0.4 else TAGS[:2])

    def _save(self) -> Command:
        devices = self._nodes()
        vmstate = devices[-1] if self.random.random() < 0.93 else "disk0"
        return self._job("snapshot-save", tag=self._tag(), vmstate=vmstate, devices=devices)

    def _load(self) -> Command:
        devices = self._nodes(2)
        vmstate = devices[-1] if self.random.random() < 0.93 else "disk0"
        if self._version >= (10, 0):  # QEMU aborts on a load through a throttle node
            devices = [node for node in devices if node != "thr0"] or ["disk0"]
        return self._job("snapshot-load", tag=self._tag(), vmstate=vmstate, devices=devices)

    def _delete(self) -> Command:
        return self._job("snapshot-delete", tag=self._tag(), devices=self._nodes(2))

    def _action(self) -> Arguments:
        roll = self.random.random()
        if roll < 0.1:
            return {"type": "abort", "data": {}}
        if roll < 0.25:
            return {"type": "blockdev-snapshot", "data": self._put_overlay()[1]}
        if roll < 0.35:
            return {"type": "blockdev-snapshot-sync", "data": self._overlay_by_file()[1]}
        return {"type": "blockdev-snapshot-internal-sync", "data": self._internal()[1]}

    def _transaction(self) -> Command:
        arguments: Arguments = {
            "actions": [self._action() for _ in range(self.random.randint(1, 3))]
        }
        if self.random.random() < 0.1:
            mode = self.random.choice(("individual", "grouped", "nonsense"))
            arguments["properties"] = {"completion-mode": mode}
        return "transaction", arguments

    def _root(self) -> str:
        return self.random.choice(ROOTS if self.random.random() < 0.8 else NODES)

    def _internal(self) -> Command:
        return "blockdev-snapshot-internal-sync", {"device": self._root(), "name": self._tag()}

    def _delete_internal(self) -> Command:
        arguments = {"device": self._root()}
        if self.random.random() < 0.6:
            arguments["name"] = self._tag()
        if self.random.random() < 0.6:
            arguments["id"] = str(self.random.randint(1, 4))
        return "blockdev-snapshot-delete-internal-sync", arguments

    def _stop(self) -> Command:
        return "stop", {}

    def _cont(self) -> Command:
        return "cont", {}

    def _dismiss(self) -> Command:
        verb = self.random.choice(("job-dismiss", "job-dismiss", "job-cancel", "job-finalize"))
        return verb, {"id": self.random.choice((self._last_job, "none"))}

    def _add_overlay(self, name: str = "") -> Command:
        name = name or self.random.choice(OVERLAYS)
        node = self.random.choice((name, name, "disk0", "1bad"))
        file = {"driver": "file", "filename": f"@DIR@/{name}.qcow2"}
        arguments = {"driver": "qcow2", "node-name": node, "file": file, "backing": None}
        return "blockdev-add", arguments

    def _overlay_and_undo(self) -> Command:
        """The whole life of an overlay, with other commands between."""
        overlay, node = self.random.choice(OVERLAYS), self.random.choice(OVERLAY_ON)
        add, attach = self._add_overlay(overlay), self._put_overlay(node, overlay)
        commit = self._commit(overlay)
        self._queue += [attach, commit, self._complete(), self._complete()]
        self._queue.append(("blockdev-del", {"node-name": overlay}))
        return add

    def _commit(self, device: str = "") -> Command:
        """An overlay committed into its base, or something that cannot be."""
        device = device or self.random.choice((*OVERLAYS, "drv0", "disk1", "raw0", "thr0", "nope"))
        command, arguments = self._job("block-commit", device=device)
        self._last_commit = self._last_job
        for member, values in COMMIT_MEMBERS.items():
            if self.random.random() < 0.12:
                arguments[member] = self.random.choice(values)
        return command, arguments

    def _complete(self) -> Command:
        verb = self.random.choice(("job-complete",) * 3 + ("job-finalize", "job-cancel"))
        return verb, {"id": self._last_commit}

    def _put_overlay(self, node: str = "", overlay: str = "") -> Command:
        node = node or self.random.choice((*OVERLAY_ON, "nope"))
        overlay = overlay or self.random.choice((*OVERLAYS, "disk0", "nope"))
        return "blockdev-snapshot", {"node": node, "overlay": overlay}

    def _overlay_by_file(self) -> Command:
        """An overlay that QEMU makes itself; each in a file of its own."""
        self._jobs += 1
        name = self.random.choice((f"sy{self._jobs}",) * 5 + ("disk0", "1bad", "n" * 40))
        arguments = {"snapshot-file": f"@DIR@/sy{self._jobs}.qcow2", "snapshot-node-name": name}
        if self.random.random() < 0.1:
            del arguments["snapshot-node-name"]
        by = self.random.choice(("node-name", "node-name", "device"))
        names = OVERLAY_ON if by == "node-name" else ("drv0", "disk1", "nope")
        arguments[by] = self.random.choice((*names, "nope"))
        if "snapshot-node-name" not in arguments:
            arguments["node-name"] = arguments.pop(by)
        return "blockdev-snapshot-sync", arguments

    def _human(self) -> Command:
        line = self.random.choice(("savevm a", "loadvm a", "delvm a", "loadvm", "stop", "cont"))
        return "human-monitor-command", {"command-line": line}

    def _remove_node(self) -> Command:
        return "blockdev-del", {"node-name": self.random.choice((*OVERLAYS, "disk0", "nope"))}

    def _bad(self) -> Command:
        """One good command made bad: a member missing, of a wrong type, or unknown."""
        command, arguments = self.random.choice(
            (self._save, self._load, self._transaction, self._internal, self._add_overlay)
        )()
        arguments = dict(arguments)
        name = self.random.choice(sorted(arguments))
        change = self.random.choice(("missing", "type", "unknown", "command"))
        if change == "missing":
            del arguments[name]
        elif change == "type":
            arguments[name] = self.random.choice((1, True, None, [1], {"a": 1}, 1.5))
        elif change == "unknown":
            arguments["unknown-member"] = 1
        else:
            command += "-x"
        if command.startswith("snapshot-") and "job-id" not in arguments:
            arguments.pop("job-id", None)
        return command, arguments
