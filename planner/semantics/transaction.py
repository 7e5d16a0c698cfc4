"""`transaction`, and the snapshot commands that are transactions of one action.

Theory: QEMU *prepares* the actions in order (an internal snapshot is taken, an overlay is put on in
this phase), then commits all of them, or aborts in reverse those that were prepared (fact 24).  Here
each preparation is a micro-step that leaves its commit step at the end of the queue; a preparation
that fails turns the commit steps found there into abort steps, in reverse.  The queue thus is the
transaction's whole state, and the nodes named by its commit steps are the drained ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.semantics import qcow2
from planner.semantics.backup import begin_backup, prepare_step, unmodelled
from planner.semantics.bitmaps import BITMAP_ACTIONS, bitmap_step, prepare_bitmap, put_back
from planner.semantics.block import (
    can_snapshot,
    is_root,
    lookup,
    snapshot_node,
    snapshots_listable,
    with_layer,
)
from planner.semantics.drive_backup import begin_drive_backup, drive_backup_step
from planner.semantics.overlay import (
    append_overlay,
    overlay_problem,
    remove_overlay,
    set_read_only,
)
from planner.semantics.overlay_by_file import make_overlay, overlay_step, take_off
from planner.semantics.quirks import Quirk
from planner.semantics.result import (
    NOT_MODELLED,
    CommandResult,
    InjectedFailure,
    MicroStep,
    QmpError,
    StepEffect,
    generic,
)
from planner.semantics.state import Node, VmState

__all__ = ["TRANSACTION_STEPS", "delete_internal_snapshot", "single_action", "start_transaction"]

_MODELLED = frozenset(
    {
        *BITMAP_ACTIONS,
        "abort",
        "blockdev-backup",
        "blockdev-snapshot",
        "blockdev-snapshot-internal-sync",
        "blockdev-snapshot-sync",
        "drive-backup",
    }
)
_GROUPED_TAKES = frozenset({"blockdev-backup", "drive-backup"})


def start_transaction(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """The command `transaction`; its work and its answer are then pending."""
    actions = cast("list[dict[str, Any]]", arguments["actions"])
    properties = cast("dict[str, str]", arguments.get("properties", {}))
    for action in actions:
        if action["type"] not in _MODELLED:
            text = f"{NOT_MODELLED} the transaction action '{action['type']}'"
            return CommandResult(state, error=generic(text))
        strange = unmodelled(action["type"], action["data"])
        if strange:
            return CommandResult(state, error=generic(strange))
    first = state.profile.grouped_checked_first
    free = _GROUPED_TAKES if first else _GROUPED_TAKES | {"abort"}
    refused = properties.get("completion-mode") == "grouped"
    others = [action["type"] for action in actions if action["type"] not in free]
    if refused and first and others:  # before any action is looked at
        steps = [MicroStep("prepare-refused", detail=others[0])]
        return CommandResult(evolve(state, pending=(*steps, MicroStep("answer-transaction"))))
    if refused and sum(action["type"] in _GROUPED_TAKES for action in actions) > 1:
        text = f"{NOT_MODELLED} copies that end together (completion-mode grouped)"
        return CommandResult(state, error=generic(text))
    steps = [
        MicroStep("prepare-refused", detail=action["type"], number=number)
        if refused and action["type"] not in free
        else _prepare_step(action, number)
        for number, action in enumerate(actions)
    ]
    return CommandResult(evolve(state, pending=(*steps, MicroStep("answer-transaction"))))


def single_action(state: VmState, kind: str, arguments: Mapping[str, object]) -> CommandResult:
    """A snapshot command that is a transaction of one."""
    return start_transaction(state, {"actions": [{"type": kind, "data": dict(arguments)}]})


def _prepare_step(action: Mapping[str, Any], number: int) -> MicroStep:
    kind, data = action["type"], action["data"]
    if kind == "abort":
        return MicroStep("prepare-abort", number=number)
    if kind in BITMAP_ACTIONS:
        return bitmap_step(kind, data, number)
    if kind == "blockdev-backup":
        return prepare_step(data, number)
    if kind == "drive-backup":
        return drive_backup_step(data, number)
    if kind == "blockdev-snapshot":
        return MicroStep("prepare-overlay", data["node"], detail=data["overlay"], number=number)
    if kind == "blockdev-snapshot-sync":
        return overlay_step(data, number)
    return MicroStep("prepare-internal", data["device"], data["name"], number=number)


# --- prepare ----------------------------------------


def _prepare_internal(
    state: VmState, step: MicroStep, failure: InjectedFailure | None
) -> StepEffect:
    error = _internal_problem(state, step)
    node = lookup(state, step.node)
    image = snapshot_node(state.graph, node) if node else None
    if error is None and (failure or image is None or node is None):
        reason = failure.text if failure else "Operation not supported"
        text = f"Failed to create snapshot '{step.tag}' on device '{step.node}': {reason}"
        error = generic(text)
    if error or image is None or node is None:
        return _fail(state, error or generic("internal snapshot without an image"))
    name = qcow2.truncated(step.tag) if state.profile.has(Quirk.TAG_TRUNCATED) else step.tag
    layer, snapshot = qcow2.create_snapshot(
        image.layer,
        name,
        instant=state.machine_version,
        vm_clock_ns=state.host_ns if state.machine.daemon else state.clock_ns,
        date_ns=state.host_ns,
        size_bytes=image.size_bytes,
    )
    commit = MicroStep("commit-internal", node.name, name, detail=snapshot.id, number=step.number)
    return _prepared(with_layer(state, image, layer), commit)


def _internal_problem(state: VmState, step: MicroStep) -> QmpError | None:
    node, error = root_node(state, step.node)
    if error or node is None:
        return error
    if node.read_only:
        return generic(f"Device '{step.node}' is read only")
    if not can_snapshot(state, node):
        text = f"Block format '{node.driver}' used by device '{step.node}'"
        return generic(f"{text} does not support internal snapshots")
    if not step.tag:
        return generic("Name is empty")
    image = snapshots_listable(state.graph, node)
    if image is None:
        return generic("Failed to get a snapshot list: Operation not supported")
    if qcow2.find_by_name(image.layer, step.tag):
        return generic(f"Snapshot with name '{step.tag}' already exists on device '{step.node}'")
    return None


def root_node(state: VmState, name: str) -> tuple[Node | None, QmpError | None]:
    """The root node that a name means, or why there is none (fact 11)."""
    node = lookup(state, name)
    if node is None:
        return None, generic(f"Cannot find device='{name}' nor node-name='{name}'")
    if not is_root(state, node):
        return None, generic("Need a root block node")
    return node, None


def _prepare_overlay(
    state: VmState, step: MicroStep, failure: InjectedFailure | None
) -> StepEffect:
    node = lookup(state, step.node)
    if node is None:
        text = f"Cannot find device='{step.node}' nor node-name='{step.node}'"
        return _fail(state, generic(text))
    problem = overlay_problem(state, node, step.detail)
    if problem or failure:
        return _fail(state, generic(problem or "An IO error has occurred"))
    overlay = cast("Node", lookup(state, step.detail))
    commit = MicroStep("commit-overlay", node.name, detail=overlay.name, number=step.number)
    return _prepared(append_overlay(state, overlay, node), commit)


def _prepare_overlay_by_file(
    state: VmState, step: MicroStep, failure: InjectedFailure | None
) -> StepEffect:
    after, commit, problem = make_overlay(state, step, failure)
    return _fail(state, generic(problem)) if commit is None else _prepared(after, commit)


def _prepare_backup(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    begin = begin_drive_backup if step.op == "prepare-drive-backup" else begin_backup
    begun, problem, events = begin(state, step)
    if problem or failure:
        return _fail(begun if problem else state, generic(problem or "An IO error has occurred"))
    done = _prepared(begun, MicroStep("commit-backup", job=begun.jobs[-1].id, number=step.number))
    return evolve(done, events=events)


def _prepare_bitmap(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    after, commit, problem = prepare_bitmap(state, step)
    if commit is None or failure:
        return _fail(state, generic(problem or "An IO error has occurred"))
    return _prepared(after, commit)


def _prepare_abort(
    state: VmState, _step: MicroStep, _failure: InjectedFailure | None
) -> StepEffect:
    return _fail(state, generic("Transaction aborted using Abort action"))


def _prepare_refused(
    state: VmState, step: MicroStep, _failure: InjectedFailure | None
) -> StepEffect:
    word = state.profile.grouped_text
    text = f"Action '{step.detail}' does not support {word} property completion-mode = grouped"
    return _fail(state, generic(text))


def _prepared(state: VmState, commit: MicroStep) -> StepEffect:
    *before, answer = state.pending
    return StepEffect(evolve(state, pending=(*before, commit, answer)))


def _fail(state: VmState, error: QmpError) -> StepEffect:
    """Undo what was prepared, in reverse, and answer with the error."""
    prepared = [step for step in state.pending if step.op.startswith("commit-")]
    undo = tuple(
        evolve(step, op=step.op.replace("commit-", "abort-")) for step in reversed(prepared)
    )
    answer = MicroStep("answer-transaction", detail=error.desc, tag=error.error_class)
    return StepEffect(evolve(state, pending=(*undo, answer)))


# --- commit, abort, answer ----------------------------------------


def _commit_internal(
    state: VmState, _step: MicroStep, _failure: InjectedFailure | None
) -> StepEffect:
    return StepEffect(state)  # the snapshot, or the bitmap, exists since its preparation


def _commit_overlay(
    state: VmState, step: MicroStep, _failure: InjectedFailure | None
) -> StepEffect:
    return StepEffect(set_read_only(state, step.node, read_only=True))


def _abort_overlay_by_file(
    state: VmState, step: MicroStep, _failure: InjectedFailure | None
) -> StepEffect:
    return StepEffect(take_off(state, step))


def _abort_internal(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    image = snapshot_node(state.graph, state.graph.node(step.node))
    found = qcow2.find_by_id_and_name(image.layer, step.detail, step.tag) if image else None
    if failure or image is None or found is None:
        return StepEffect(state)  # QEMU reports it on stderr only: the snapshot stays
    return StepEffect(with_layer(state, image, qcow2.delete_snapshot(image.layer, found)))


def _abort_overlay(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    return StepEffect(remove_overlay(state, step.detail, step.node))


def _answer(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    if step.detail:
        return StepEffect(state, error=QmpError(step.tag, step.detail))
    return StepEffect(state, reply={})


# --- deleting ----------------------------------------


def delete_internal_snapshot(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """`blockdev-snapshot-delete-internal-sync`: exactly one snapshot, by id and name (fact 22).

    QEMU aborts if the node is inactive (fact 35).
    """
    device = cast("str", arguments["device"])
    wanted_id = cast("str | None", arguments.get("id"))
    wanted_name = cast("str | None", arguments.get("name"))
    node, error = root_node(state, device)
    if error or node is None:
        return CommandResult(state, error=error)
    if wanted_id is None and wanted_name is None:
        return CommandResult(state, error=generic("Name or id must be provided"))
    image = snapshots_listable(state.graph, node)
    if image is None:
        text = "Failed to get a snapshot list: Operation not supported"
        return CommandResult(state, error=generic(text))
    found = qcow2.find_by_id_and_name(image.layer, wanted_id, wanted_name)
    if found is None:
        text = (
            f"Snapshot with id '{_shown(wanted_id)}' and name '{_shown(wanted_name)}' "
            f"does not exist on device '{device}'"
        )
        return CommandResult(state, error=generic(text))
    if not image.active and state.profile.has(Quirk.DELETE_WHILE_INACTIVE_ABORTS):
        died = "Assertion `!(bs->open_flags & BDRV_O_INACTIVE)' failed."
        return CommandResult(evolve(state, died=died))
    if image.read_only:
        text = "Failed to remove snapshot from snapshot list: Operation not permitted"
        return CommandResult(state, error=generic(text))
    left = with_layer(state, image, qcow2.delete_snapshot(image.layer, found))
    return CommandResult(left, snapshot_info(found))


def snapshot_info(snapshot: qcow2.LayerSnapshot) -> dict[str, object]:
    """A snapshot as QMP's `SnapshotInfo`."""
    clock_s, clock_ns = divmod(snapshot.vm_clock_ns, 10**9)
    date_s, date_ns = divmod(snapshot.date_ns, 10**9)
    return {
        "vm-clock-nsec": clock_ns,
        "name": snapshot.name,
        "date-sec": date_s,
        "date-nsec": date_ns,
        "vm-clock-sec": clock_s,
        "id": snapshot.id,
        "vm-state-size": snapshot.vm_state_size_bytes,
    }


def _shown(text: str | None) -> str:
    return "null" if text is None else text


TRANSACTION_STEPS = {
    "prepare-internal": _prepare_internal,
    "prepare-overlay": _prepare_overlay,
    "prepare-overlay-sync": _prepare_overlay_by_file,
    "prepare-backup": _prepare_backup,
    "prepare-drive-backup": _prepare_backup,
    "prepare-bitmap": _prepare_bitmap,
    "prepare-abort": _prepare_abort,
    "prepare-refused": _prepare_refused,
    "commit-internal": _commit_internal,
    "commit-bitmap": _commit_internal,
    "abort-bitmap": put_back,
    "commit-overlay": _commit_overlay,
    "commit-overlay-sync": _commit_overlay,
    "abort-internal": _abort_internal,
    "abort-overlay": _abort_overlay,
    "abort-overlay-sync": _abort_overlay_by_file,
    "answer-transaction": _answer,
}
