"""The VM before a run and after it: what both show, and names bound to what they mean now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from planner.errors import Problem, VmChanged
from planner.model.facts import Facts, JobInfo, SnapshotInfo
from planner.model.image_file import FILTERS
from planner.model.operations import Kind
from planner.program.program import Step, UndoKind

__all__ = ["Baseline", "Observation", "baseline_of", "bind", "bind_node", "steps_disks"]

_TAKE_A_ROOT = ("device",)
"""Arguments that are a root node, or a ``-drive`` id."""


@frozen
class Baseline:
    """The VM just before a run.

    Attributes:
        nodes: Each disk's image node, by its name of now.
        roots: What ``blockdev-snapshot-delete-internal-sync`` takes, by disk.
        filenames: Each disk's image file.
        ids: Ids of the snapshots that each disk holds; none of them is the run's.
        run_state: ``running`` or ``paused``.
        live_nodes: Present names of automatically named nodes, by reference.
        backing: By disk, the images under its own, from the top down, each with its format; a disk that
            is not in it has a filter there, or was looked at by an older snapplan.
    """

    nodes: Mapping[str, str]
    roots: Mapping[str, str]
    filenames: Mapping[str, str]
    ids: Mapping[str, frozenset[str]]
    run_state: str
    live_nodes: Mapping[str, str] = field(factory=dict)
    backing: Mapping[str, tuple[tuple[str, str], ...]] = field(factory=dict)


@frozen
class Observation:
    """The VM as one look shows it.

    Attributes:
        run_state: QEMU's run state.
        snapshots: Snapshots by node name.
        jobs: Jobs, each with its error.
    """

    run_state: str
    snapshots: Mapping[str, tuple[SnapshotInfo, ...]]
    jobs: tuple[tuple[JobInfo, str], ...] = ()

    def fresh(self, baseline: Baseline, tag: str) -> dict[str, tuple[SnapshotInfo, ...]]:
        """By disk, the snapshots of a tag that were not there before."""
        return {
            disk: tuple(
                snapshot
                for snapshot in self.snapshots.get(node, ())
                if snapshot.name == tag and snapshot.id not in baseline.ids[disk]
            )
            for disk, node in baseline.nodes.items()
        }


def baseline_of(facts: Facts) -> Baseline:
    """The baseline of a VM whose facts were just asked."""
    live = facts.live_nodes
    return Baseline(
        nodes={disk.name: live.get(disk.node, disk.node) for disk in facts.disks},
        roots={disk.name: live.get(disk.root, disk.root) for disk in facts.disks},
        filenames={disk.name: disk.filename for disk in facts.disks},
        ids={disk.name: frozenset(s.id for s in disk.snapshots) for disk in facts.disks},
        run_state=facts.run_state,
        live_nodes=live,
        backing={
            disk.name: tuple((layer.filename, layer.driver) for layer in disk.backing)
            for disk in facts.disks
            if not any(layer.driver in FILTERS for layer in disk.backing)
        },
    )


def bind(arguments: Mapping[str, object], live_nodes: Mapping[str, str]) -> dict[str, object]:
    """Put live node names in the place of references, where QMP takes a node and nowhere else.

    Raises:
        VmChanged: A reference means no node of this VM.
    """
    bound = dict(arguments)
    for key in ("vmstate", *_TAKE_A_ROOT):
        if key in bound:
            bound[key] = bind_node(str(bound[key]), live_nodes)
    devices = bound.get("devices")
    if isinstance(devices, list):
        bound["devices"] = [bind_node(str(node), live_nodes) for node in devices]
    actions = bound.get("actions")
    if isinstance(actions, list):
        bound["actions"] = [_bind_action(action, live_nodes) for action in actions]
    return bound


def _bind_action(action: Mapping[str, Any], live_nodes: Mapping[str, str]) -> Mapping[str, Any]:
    keys = ("node",) if action.get("type") == "blockdev-snapshot" else _TAKE_A_ROOT
    data = action["data"]
    found = {key: bind_node(str(data[key]), live_nodes) for key in keys if key in data}
    return {**action, "data": {**data, **found}}


def bind_node(name: str, live_nodes: Mapping[str, str]) -> str:
    """The live name of a node that may be a reference.

    Raises:
        VmChanged: It is a reference, and means no node of this VM.
    """
    if not name.startswith("@"):
        return name
    if name not in live_nodes:
        problem = Problem("vm-changed", name, "no node of this VM is meant by this reference")
        raise VmChanged(problem.words, problems=(problem,))
    return live_nodes[name]


def steps_disks(step: Step) -> tuple[str, ...]:
    """The disks that a step snapshots; a node that machine state has of its own is none."""
    own = {undo.disk for undo in step.undo if undo.kind is UndoKind.REMOVE_NODE}
    snapshotted = (op.disk for op in step.covers if op.kind is Kind.SNAPSHOT_DISK)
    return tuple(disk for disk in snapshotted if disk not in own)
