"""The VM that a sequence is tried on: the one of the facts, or one that the sequence itself tells of.

Theory: a sequence is judged by running it on the semantics, so it needs a VM.  Without facts one is
imagined in the sequence's favour: every node that it names is a writable qcow2 disk, every snapshot
that it loads or deletes is there.  What that takes for granted is said (`TrialVm.unchecked`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve, field, frozen

from planner.errors import BadInput
from planner.lint.program import Command, Listing
from planner.model.facts import Disk, Facts, SnapshotInfo
from planner.semantics import DiskDescription, VmState, content_node, state_from_facts, vm_state

__all__ = ["COPIES", "TrialVm", "actions_of", "hmp_snapshot", "names_of", "set_the_stage"]

_IMAGINED_VERSION = "10.0"
_OLDEST = "7.2"
_CLOCK_NS = 10**9
_A_DISK = "disk0"
COPIES = ("blockdev-backup", "drive-backup")
"""What copies a disk, each of the instant at which it begins."""
_WITH_A_JOB = (*COPIES, "drive-mirror")
_ON_A_DISK = (*_WITH_A_JOB, "block_resize")
_BESIDE = {"blockdev-backup": "target", "blockdev-snapshot": "overlay"}
_HMP = (["savevm"], ["loadvm"], ["delvm"])


@frozen
class TrialVm:
    """What a sequence is tried on.

    Attributes:
        state: The VM at the beginning.
        facts: What is known of it; None: it is imagined.
        version: QEMU's version where known, as numbers; empty: not known.
        aliases: Names in the sequence that mean a node of another name in ``state``.
        disks: The facts' disk behind each image node of ``state``.
        unchecked: What could not be checked.
    """

    state: VmState
    facts: Facts | None = None
    version: tuple[int, ...] = ()
    aliases: Mapping[str, str] = field(factory=dict, hash=False)
    disks: Mapping[str, Disk] = field(factory=dict, hash=False)
    unchecked: tuple[str, ...] = ()


def set_the_stage(listing: Listing, facts: Facts | None) -> TrialVm:
    """Find the VM to try a sequence on."""
    if facts is not None:
        return _from_facts(facts)
    return _imagined(listing)


def _from_facts(facts: Facts) -> TrialVm:
    unchecked = []
    try:
        state = state_from_facts(facts)
    except BadInput:
        state = state_from_facts(facts, version=_OLDEST)
        unchecked.append(f"QEMU {facts.qemu} is not modelled; it was taken for {_OLDEST}")
    disks = dict(_disks_by_node(state, facts))
    aliases = {}
    for node, disk in disks.items():
        if disk.node.startswith("@"):
            aliases[disk.node] = node
            aliases[facts.live_nodes.get(disk.node, disk.node)] = node
    version = (facts.qemu.major, facts.qemu.minor, facts.qemu.micro)
    return TrialVm(state, facts, version, aliases, disks, tuple(unchecked))


def _disks_by_node(state: VmState, facts: Facts) -> Iterator[tuple[str, Disk]]:
    for disk in facts.disks:
        if not disk.node.startswith("@"):
            yield disk.node, disk
            continue
        device = next(
            (d for d in state.devices if d.name == disk.drive_id and d.qdev == disk.qdev), None
        )
        if device is not None:
            yield content_node(state.graph, state.graph.node(device.node)).name, disk


# --- imagined -------------------------------------------------------------------------------------


def names_of(command: Command) -> tuple[str, ...]:
    """The disks that a command names, as node names or otherwise, in its order."""
    return tuple(_names(command))


def _names(command: Command) -> Iterator[str]:
    arguments = command.arguments
    if command.execute.startswith("snapshot-"):
        devices = arguments.get("devices")
        yield from (n for n in devices if isinstance(n, str)) if isinstance(devices, list) else ()
        if isinstance(arguments.get("vmstate"), str):
            yield str(arguments["vmstate"])
    elif command.execute == "transaction":
        for action in actions_of(command):
            yield from _one(action.get("data"))
    elif command.execute.startswith("blockdev-snapshot") or command.execute in _ON_A_DISK:
        yield from _one(arguments)


def _one(data: object) -> Iterator[str]:
    if isinstance(data, Mapping):
        for key in ("device", "node", "node-name"):
            if isinstance(data.get(key), str):
                yield data[key]


def _beside(command: Command) -> Iterator[str]:
    """The nodes that a command puts on a disk, or copies one to: no device uses them."""
    for kind, data in told_by(command):
        name = data.get(_BESIDE.get(kind, ""))
        if isinstance(name, str):
            yield name


def hmp_snapshot(command: Command) -> tuple[str, str] | None:
    """The snapshot command of the human monitor that a command runs, and its tag; None: none."""
    words = str(command.arguments.get("command-line", "")).split()
    if command.execute != "human-monitor-command" or words[:1] not in _HMP:
        return None
    return words[0], words[1] if len(words) > 1 else ""


def actions_of(command: Command) -> tuple[Mapping[str, object], ...]:
    """The actions of a transaction, as far as they can be read."""
    actions = command.arguments.get("actions")
    if command.execute != "transaction" or not isinstance(actions, list):
        return ()
    return tuple(action for action in actions if isinstance(action, Mapping))


def told_by(command: Command) -> Iterator[tuple[str, Mapping[str, object]]]:
    """A command and its arguments; before it, where it is a transaction, each of its actions."""
    for action in actions_of(command):
        data = action.get("data")
        if isinstance(data, Mapping):
            yield str(action.get("type")), data
    yield command.execute, command.arguments


def _imagined(listing: Listing) -> TrialVm:
    added = {
        str(command.arguments.get("node-name"))
        for command in listing.commands
        if command.execute == "blockdev-add"
    }
    added |= {name for command in listing.commands for name in _made_by(command)}
    names = dict.fromkeys(n for c in listing.commands for n in names_of(c) if n not in added)
    if not names and any(hmp_snapshot(command) for command in listing.commands):
        names = {_A_DISK: None}
    held = _held_before(listing, tuple(names))
    drives = _drive_ids(listing)
    disks = [
        DiskDescription(
            name,
            kind="drive" if name in drives else "qcow2",
            snapshots=tuple(held.get(name, {}).values()),
        )
        for name in names
    ]
    beside = (name for command in listing.commands for name in _beside(command))
    others = dict.fromkeys(name for name in beside if name not in added | names.keys())
    disks += [DiskDescription(name, kind="unattached") for name in others]
    unchecked = [
        "which disks the VM has, and whether each can hold a snapshot",
        "whether the names are node names, -drive ids or qdev ids of this VM",
        "which snapshots were there before",
    ]
    if not listing.starts_paused and listing.kind == "lines":
        unchecked.append("whether the VM runs at the beginning (taken for running)")
    version = listing.version or _IMAGINED_VERSION
    if not listing.version:
        unchecked.append("what this QEMU's version and schema can do")
    run_state = "paused" if listing.starts_paused else "running"
    try:
        state = vm_state(version, disks, run_state=run_state)
    except BadInput:
        state = vm_state(_OLDEST, disks, run_state=run_state)
    numbers = tuple(int(part) for part in listing.version.split(".") if part)
    return TrialVm(_grown_up(state), None, numbers, unchecked=tuple(unchecked))


def _drive_ids(listing: Listing) -> set[str]:
    """The names that can only be ids of ``-drive``: where they stand, QEMU takes nothing else.

    `blockdev-snapshot-sync` looks up ``device`` among these; a copy without a job id takes its disk's,
    and only these have one.  A name that stands for a node elsewhere is a node.
    """
    drives: set[str] = set()
    nodes: set[str] = set()
    for command in listing.commands:
        if command.execute.startswith("snapshot-"):
            nodes.update(names_of(command))
        for kind, data in told_by(command):
            name = str(data.get("device", ""))
            nodes.update(str(data[key]) for key in ("node", "node-name") if key in data)
            if kind == "blockdev-snapshot-sync" or (kind in _WITH_A_JOB and "job-id" not in data):
                drives.add(name)
    return drives - nodes


def _made_by(command: Command) -> Iterator[str]:
    """The nodes that a command makes beside what it does."""
    for _, data in told_by(command):
        name = data.get("snapshot-node-name")
        if isinstance(name, str):
            yield name


def _grown_up(state: VmState) -> VmState:
    # A node that is named and imagined as a disk may be called like another's protocol node.
    names = [node.name for node in state.graph.nodes]
    last = {name: place for place, name in enumerate(names)}
    nodes = tuple(node for place, node in enumerate(state.graph.nodes) if last[node.name] == place)
    return evolve(state, graph=evolve(state.graph, nodes=nodes))


def _held_before(listing: Listing, disks: tuple[str, ...]) -> dict[str, dict[str, SnapshotInfo]]:
    """Snapshots that a sequence loads or deletes without having made them, by node and tag."""
    held: dict[str, dict[str, SnapshotInfo]] = {}
    made: set[tuple[str, str]] = set()
    for command in listing.commands:
        for tag, snapshot_id in _tags_needed(command):
            for name in disks if hmp_snapshot(command) else names_of(command):
                if (name, tag) in made or tag in held.get(name, {}):
                    continue
                vmstate = command.arguments.get("vmstate", disks[0] if disks else "")
                loads = command.execute in ("snapshot-load", "human-monitor-command")
                size = int(not loads or name == vmstate)
                number = snapshot_id or str(len(held.get(name, {})) + 1)
                snapshot = SnapshotInfo(number, tag, _CLOCK_NS, size)
                held.setdefault(name, {})[tag] = snapshot
        made.update(_made(command, disks))
    return held


def _tags_needed(command: Command) -> Iterator[tuple[str, str]]:
    said = hmp_snapshot(command)
    if said and said[0] in ("loadvm", "delvm"):
        yield said[1], ""
    elif command.execute in ("snapshot-load", "snapshot-delete"):
        yield str(command.arguments.get("tag", "")), ""
    elif command.execute == "blockdev-snapshot-delete-internal-sync":
        arguments = command.arguments
        yield str(arguments.get("name", "")), str(arguments.get("id", ""))


def _made(command: Command, disks: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    said = hmp_snapshot(command)
    if said and said[0] == "savevm":
        yield from ((name, said[1]) for name in disks)
    if command.execute == "snapshot-save":
        tag = str(command.arguments.get("tag", ""))
        yield from ((name, tag) for name in names_of(command))
    for _, data in told_by(command):
        if "name" in data and "id" not in data:
            yield from ((name, str(data["name"])) for name in _one(data))
