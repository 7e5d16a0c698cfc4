"""What a QMP command of a program does, derived from the command alone.

The verifier trusts nobody's word about a step: it reads the command and its arguments, as QEMU
would, and says which operations follow, whether in a promised order, whether all or nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast

from attrs import field, frozen

from planner.errors import Problem
from planner.model.libvirt_save import DESCRIPTOR_OF_A_SAVE, STREAM_BEGINS_BYTES
from planner.model.operations import Kind, Operation
from planner.model.request import Capture
from planner.program.program import (
    AGENT_INSTRUCTIONS,
    DESCRIPTOR_NAME,
    HOST_INSTRUCTIONS,
    Step,
    Target,
)
from planner.program.resolution import DiskCopy, Overlay, Resolution, VmstateNode
from planner.program.rule_ids import RuleId
from planner.verify.copy_effects import added_target, begun_copy

__all__ = ["Effect", "VmBefore", "Names", "effect_of"]

# Fact 3: what QEMU takes for a job id.
_JOB_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


@frozen
class Names:
    """Which disk a QMP argument means: by image node (jobs), root, overlay, node of a copy's file.

    The node that machine state has of its own is called by its name, and no disk is called so.
    """

    by_node: Mapping[str, str]
    by_root: Mapping[str, str]
    by_overlay: Mapping[str, Overlay]
    own: VmstateNode | None = None
    by_target: Mapping[str, DiskCopy] = field(factory=dict)

    @classmethod
    def of(cls, resolution: Resolution) -> Names:
        """The names of a resolution's disks."""
        parts, own = resolution.internal, resolution.vmstate_node
        alone = {} if own is None else {own.node: own.node}
        return cls(
            {p.node: p.disk for p in parts} | alone,
            {p.root: p.disk for p in parts},
            {overlay.overlay: overlay for overlay in resolution.overlays},
            own,
            {copy.target: copy for copy in resolution.copies},
        )


@frozen
class Effect:
    """What one command does.

    Attributes:
        operations: In the order in which QEMU does them, where ``ordered``.
        ordered: Whether QEMU promises that order.
        atomic: Whether QEMU does all or nothing.
        problems: What is wrong with the command itself.
    """

    operations: tuple[Operation, ...] = ()
    ordered: bool = True
    atomic: bool = False
    problems: tuple[Problem, ...] = ()


@frozen
class VmBefore:
    """The VM as a command finds it: what decides what the command does.

    Attributes:
        running: Whether the guest runs.
        capabilities: Migration capabilities that are on, as far as the program set them.
        streaming: How the stream under way is captured; empty: there is none.
        tracking: Whether its write tracking has been seen, where it is captured in the background.
    """

    running: bool
    capabilities: frozenset[str] = frozenset()
    streaming: str = ""
    tracking: bool = False


def effect_of(step: Step, resolution: Resolution, names: Names, moment: VmBefore) -> Effect:
    """Derive what a step's command does.

    Args:
        step: The step; only its command and arguments are read, and which copy it waits for.
        resolution: For the tag that every part has to carry.
        names: Which disk an argument means.
        moment: The VM when the step begins.
    """
    if step.target is not Target.QMP:
        return _elsewhere(step)
    derive = _EFFECTS.get(step.execute)
    if derive is None:
        problem = Problem(
            "instruction-unknown", step.execute, "no rule says what this command does to a snapshot"
        )
        return Effect(problems=(problem,))
    try:
        return derive(_Context(step.arguments, resolution, names, moment, step.covers))
    except (KeyError, TypeError, AttributeError):
        problem = Problem("arguments-malformed", step.execute, "its arguments cannot be read")
        return Effect(problems=(problem,))


@frozen
class _Context:
    """What an effect is derived from."""

    arguments: Mapping[str, object]
    resolution: Resolution
    names: Names
    moment: VmBefore
    covers: tuple[Operation, ...] = ()

    @property
    def copied(self) -> frozenset[str]:
        """The disks that are copied."""
        return frozenset(copy.disk for copy in self.names.by_target.values())


def _elsewhere(step: Step) -> Effect:
    if step.target is Target.HOST and step.execute in HOST_INSTRUCTIONS:
        return Effect()  # files are made and named; what for, the walk checks
    if step.target is Target.AGENT and step.execute in _OF_AGENT:
        return Effect((Operation(_OF_AGENT[step.execute]),))
    problem = Problem(
        "instruction-unknown", step.execute, f"no such thing is done by {step.target}"
    )
    return Effect(problems=(problem,))


def _stop(_: _Context) -> Effect:
    return Effect((Operation(Kind.PAUSE_GUEST),))


def _cont(_: _Context) -> Effect:
    return Effect((Operation(Kind.RESUME_GUEST),))


def _save(context: _Context) -> Effect:
    arguments, resolution, names = context.arguments, context.resolution, context.names
    devices = cast("list[str]", arguments["devices"])
    vmstate = str(arguments["vmstate"])
    problems = [*_tag_problems(arguments["tag"], resolution, "snapshot-save")]
    if not _JOB_ID.fullmatch(str(arguments["job-id"])):
        problems.append(Problem("job-id-malformed", "snapshot-save", "QEMU refuses it (fact 3)"))
    if vmstate not in devices:
        problems.append(Problem("vmstate-not-in-devices", vmstate, "the job would fail (fact 5)"))
    if len(set(devices)) != len(devices):
        problems.append(
            Problem("device-twice", "snapshot-save", "it would be snapshotted twice (fact 5)")
        )
    disks = [_disk(names.by_node, node, problems) for node in devices]
    holder = names.by_node.get(vmstate, "")
    operations = [Operation(Kind.WRITE_VMSTATE, disk=holder)]
    operations += [Operation(Kind.SNAPSHOT_DISK, disk=disk) for disk in disks if disk]
    operations.append(Operation(Kind.DISCARD_VMSTATE, disk=holder))
    if context.moment.running:
        operations = [Operation(Kind.PAUSE_GUEST), *operations, Operation(Kind.RESUME_GUEST)]
    return Effect(tuple(operations), problems=tuple(problems))


def _transaction(context: _Context) -> Effect:
    arguments, resolution, names = context.arguments, context.resolution, context.names
    problems: list[Problem] = []
    operations: list[Operation] = []
    for action in cast("list[Mapping[str, Mapping[str, object]]]", arguments["actions"]):
        kind, data = str(action["type"]), action["data"]
        if kind == "blockdev-snapshot":
            operations += _switch(data, names, problems)
            continue
        if kind == "blockdev-backup":
            copy = names.by_target.get(str(data["target"]))
            begun, wrong = begun_copy(data, copy)
            operations += begun
            problems += wrong
            continue
        if kind != "blockdev-snapshot-internal-sync":
            problems.append(
                Problem("instruction-unknown", kind, "no rule says what this action does")
            )
            continue
        problems.extend(_tag_problems(data["name"], resolution, "transaction"))
        disk = _disk(names.by_root, str(data["device"]), problems)
        if disk:
            operations.append(Operation(Kind.SNAPSHOT_DISK, disk=disk))
    return Effect(tuple(operations), ordered=False, atomic=True, problems=tuple(problems))


def _switch(
    data: Mapping[str, object], names: Names, problems: list[Problem]
) -> tuple[Operation, ...]:
    overlay = names.by_overlay.get(str(data["overlay"]))
    if overlay is None:
        problem = Problem(
            RuleId.NOTHING_ELSE, str(data["overlay"]), "this is no overlay of the snapshot"
        )
        problems.append(problem)
        return ()
    if data["node"] != overlay.node:
        text = f"it is for {overlay.node!r}, and put on {data['node']!r}"
        problems.append(Problem(RuleId.NOTHING_ELSE, overlay.overlay, text))
    return (Operation(Kind.SWITCH_TO_OVERLAY, disk=overlay.disk),)


def _await_copy(context: _Context) -> Effect:
    """What is waited for is said by the step: the command itself asks of all jobs."""
    return Effect(
        tuple(o for o in context.covers if o.kind is Kind.END_COPY and o.disk in context.copied)
    )


def _add(context: _Context) -> Effect:
    arguments = context.arguments
    name, own = str(arguments["node-name"]), context.names.own
    if own is not None and name == own.node:
        return _add_own(arguments, own)
    copy = context.names.by_target.get(name)
    if copy is not None:
        added, wrong = added_target(arguments, copy)
        return Effect(added, problems=wrong)
    overlay = context.names.by_overlay.get(name)
    if overlay is None:
        problem = Problem(RuleId.NOTHING_ELSE, name, "this is no overlay of the snapshot")
        return Effect(problems=(problem,))
    file = cast("Mapping[str, object]", arguments["file"])
    problems = []
    if (arguments["driver"], file["driver"], file["filename"]) != ("qcow2", "file", overlay.path):
        text = f"it must be the qcow2 image {overlay.path}"
        problems.append(Problem(RuleId.NOTHING_ELSE, overlay.overlay, text))
    if arguments.get("backing", "") is not None:
        text = "it must be added without a backing file: `blockdev-snapshot` puts it on its base"
        problems.append(Problem(RuleId.OVERLAY_READY, overlay.overlay, text))
    return Effect((Operation(Kind.ADD_OVERLAY, disk=overlay.disk),), problems=tuple(problems))


def _add_own(arguments: Mapping[str, object], own: VmstateNode) -> Effect:
    file = {"driver": "file", "filename": own.filename}
    wanted = {"driver": "qcow2", "node-name": own.node, "file": file}
    problems = []
    if dict(arguments) != wanted:
        text = f"it must be the new qcow2 image {own.path}, by its descriptor, and nothing below it"
        problems.append(Problem(RuleId.NOTHING_ELSE, own.node, text))
    return Effect((Operation(Kind.ADD_VMSTATE_NODE, disk=own.node),), problems=tuple(problems))


def _remove(context: _Context) -> Effect:
    own, name = context.names.own, context.arguments["node-name"]
    if name in context.names.by_target or (own is not None and name == own.node):
        return Effect()  # the walks keep account of it
    text = "this node was not made for the snapshot"
    return Effect(problems=(Problem(RuleId.NOTHING_ELSE, str(name), text),))


def _migrate(context: _Context) -> Effect:
    moment, stream = context.moment, context.resolution.stream
    wanted: tuple[str, ...] = ()
    if stream is not None:
        behind = f",offset={STREAM_BEGINS_BYTES}" if stream.libvirt else ""
        passed = DESCRIPTOR_OF_A_SAVE if stream.libvirt else DESCRIPTOR_NAME
        in_set = f"file:/dev/fdset/{stream.descriptor_set}{behind}"
        by_path = () if stream.libvirt else (f"file:{stream.temporary}",)
        wanted = (*by_path, f"fd:{passed}", in_set)
    problems = []
    if context.arguments["uri"] not in wanted:
        text = "it does not write to the file of the snapshot"
        problems.append(Problem(RuleId.NOTHING_ELSE, "migrate", text))
    operations: list[Operation] = []
    if "background-snapshot" in moment.capabilities:
        pass  # it has begun once its write tracking is seen (fact 40)
    elif moment.running and "pause-before-switchover" in moment.capabilities:
        begin = Operation(Kind.BEGIN_STREAM_VMSTATE, detail=Capture.LIVE)
        operations += [begin, Operation(Kind.PAUSE_GUEST)]
    else:  # QEMU stops a running guest at the end, and leaves no time for the disks
        operations += [
            Operation(kind, detail=Capture.STOPPED)
            for kind in (Kind.BEGIN_STREAM_VMSTATE, Kind.END_STREAM_VMSTATE)
        ]
    return Effect(tuple(operations), problems=tuple(problems))


def _continue(context: _Context) -> Effect:
    if context.moment.streaming != Capture.LIVE or context.arguments["state"] != "pre-switchover":
        text = "no migration waits in pre-switchover (fact 30)"
        return Effect(problems=(Problem(RuleId.NODES_ACTIVE, "migrate-continue", text),))
    return Effect((Operation(Kind.END_STREAM_VMSTATE, detail=Capture.LIVE),))


def _await_stream(context: _Context) -> Effect:
    moment = context.moment
    if moment.streaming != Capture.BACKGROUND:
        return Effect()
    kind = Kind.END_STREAM_VMSTATE if moment.tracking else Kind.BEGIN_STREAM_VMSTATE
    return Effect((Operation(kind, detail=Capture.BACKGROUND),))


def _prepares(_: _Context) -> Effect:
    return Effect()  # the walk keeps account of it


def _delete(context: _Context) -> Effect:
    arguments, resolution, names = context.arguments, context.resolution, context.names
    problems = [*_tag_problems(arguments["name"], resolution, "delete")]
    disk = _disk(names.by_root, str(arguments["device"]), problems)
    detail = str(arguments["id"])
    return Effect(
        (Operation(Kind.DELETE_DISK_SNAPSHOT, disk=disk, detail=detail),), problems=tuple(problems)
    )


def _tag_problems(tag: object, resolution: Resolution, where: str) -> list[Problem]:
    if tag == resolution.tag:
        return []
    return [Problem("tag-differs", where, f"it says {tag!r}, the snapshot is {resolution.tag!r}")]


def _disk(table: Mapping[str, str], name: str, problems: list[Problem]) -> str:
    if name in table:
        return table[name]
    problems.append(
        Problem(RuleId.NOTHING_ELSE, name, "this node is no internal part of the snapshot")
    )
    return ""


_OF_AGENT = dict(
    zip(AGENT_INSTRUCTIONS, (Kind.FREEZE_FILESYSTEMS, Kind.THAW_FILESYSTEMS), strict=True)
)
_EFFECTS: dict[str, Callable[[_Context], Effect]] = {
    "stop": _stop,
    "cont": _cont,
    "snapshot-save": _save,
    "transaction": _transaction,
    "blockdev-snapshot-delete-internal-sync": _delete,
    "blockdev-add": _add,
    "blockdev-del": _remove,
    "migrate": _migrate,
    "migrate-continue": _continue,
    "query-migrate": _await_stream,
    "query-jobs": _await_copy,
    "migrate-set-capabilities": _prepares,
    "migrate-set-parameters": _prepares,
    "getfd": _prepares,
    "add-fd": _prepares,
    "remove-fd": _prepares,
}
