"""The human monitor's commands that save, load and delete snapshots: `human-monitor-command`.

Theory: `savevm`, `loadvm` and `delvm` do what the jobs do, on every disk that can be written to, and
the machine state goes into the first of them.  They hold the main loop until they are done, and an
error is a text in the reply, not an error of QMP.  Here each is a job without an id, so that no QMP
command can name it: it is gone as soon as it has answered.  `savevm` deletes the old snapshots of the
name first, from every disk, and whatever comes of it afterwards, they are gone.

Source: facts 100 and 101.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attrs import evolve

from planner.semantics import qcow2, runstate
from planner.semantics.block import can_snapshot, find_snapshot, snapshots_listable
from planner.semantics.hmp_text import automatic_tag, error_text, snapshot_lists
from planner.semantics.job_checks import save_problem
from planner.semantics.result import (
    NOT_MODELLED,
    CommandResult,
    InjectedFailure,
    MicroStep,
    StepEffect,
    generic,
)
from planner.semantics.state import Job, Node, VmState

__all__ = ["HMP_STEPS", "all_disks", "human_monitor_command"]

_NOWHERE = "no block device can store vmstate for snapshot"
_KINDS = {"savevm": "snapshot-save", "loadvm": "snapshot-load", "delvm": "snapshot-delete"}
_MODELLED = (
    "savevm",
    "loadvm",
    "delvm",
    "info",
    "stop",
    "s",
    "cont",
    "c",
    "system_reset",
    "quit",
    "q",
)


def human_monitor_command(state: VmState, arguments: Mapping[str, object]) -> CommandResult:
    """`human-monitor-command`: snapshots, `info snapshots`, `info status`, stop, cont, reset and quit.

    Anything else is refused honestly: the simulator does not model it.
    """
    words = cast("str", arguments["command-line"]).split()
    name, given = (words[0], words[1:]) if words else ("", [])
    if name not in _MODELLED or (name == "info" and given not in (["snapshots"], ["status"])):
        text = f"{NOT_MODELLED} the HMP command '{' '.join(words[:2])}'"
        return CommandResult(state, error=generic(text))
    if name == "info":
        return CommandResult(state, _snapshots(state) if given == ["snapshots"] else _status(state))
    if name in _KINDS:
        return _snapshot_command(state, name, given)
    done = {
        "s": runstate.stop, "stop": runstate.stop, "c": runstate.cont, "cont": runstate.cont,
        "system_reset": runstate.system_reset, "q": runstate.quit_qemu, "quit": runstate.quit_qemu,
    }[name](state)  # fmt: skip
    text = "" if done.error is None else error_text(done.error.desc)
    return evolve(done, reply=text, error=None)


def all_disks(state: VmState) -> tuple[Node, ...]:
    """What these commands work on: every disk's root node, and nodes that nobody uses, if writable.

    In QEMU's order: a ``-drive`` is there before any device is made.
    """
    devices = sorted(state.devices, key=lambda device: not device.name)
    found = {device.node: state.graph.get(device.node) for device in devices}
    for node in state.graph.nodes:
        if node.owned and node.name not in state.graph.parents:
            found.setdefault(node.name, node)
    return tuple(node for node in found.values() if node is not None and not node.read_only)


def _snapshot_command(state: VmState, name: str, given: list[str]) -> CommandResult:
    wrong = ""
    if not given and name != "savevm":
        wrong = "string expected"
    elif len(given) > 1:
        wrong = "extraneous characters at the end of line"
    if wrong:
        text = f'{name}: {wrong}\r\nTry "help {name}" for more information\r\n'
        return CommandResult(state, text)
    tag = given[0] if given else automatic_tag(state.host_ns)
    devices = tuple(node.name for node in all_disks(state))
    job = Job(
        id="",
        type=_KINDS[name],
        tag=tag,
        devices=devices,
        vmstate=devices[0] if devices else "",
        status="running",
    )
    steps = [MicroStep(f"check-{name}")]
    if name == "loadvm" and state.running and devices:
        steps.insert(0, MicroStep("stop-guest", detail="restore-vm"))
    return CommandResult(evolve(state, jobs=(*state.jobs, job), pending=tuple(steps)))


# --- what comes before the steps that are the jobs' ---


def _check_savevm(state: VmState, step: MicroStep, failure: InjectedFailure | None) -> StepEffect:
    job = cast("Job", state.job(""))
    # whether the name is taken is not asked: what has it is deleted
    problem = failure.text if failure else _unsavable(state, evolve(job, tag=""))
    if problem:
        return StepEffect(evolve(state, pending=(MicroStep("conclude-job", detail=problem),)))
    gone = [MicroStep("delete-first-match", node, job.tag) for node in job.devices]
    return StepEffect(evolve(state, pending=(*gone, evolve(step, op="check-save"))))


def _unsavable(state: VmState, job: Job) -> str:
    return save_problem(state, job) if job.devices else _NOWHERE


def _check_loadvm(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    if not cast("Job", state.job("")).devices:
        return StepEffect(evolve(state, pending=(MicroStep("conclude-job", detail=_NOWHERE),)))
    return StepEffect(evolve(state, pending=(evolve(step, op="check-load"), *state.pending)))


def _check_delvm(state: VmState, step: MicroStep, _failure: InjectedFailure | None) -> StepEffect:
    if not cast("Job", state.job("")).devices:
        return StepEffect(evolve(state, pending=(MicroStep("conclude-job"),)))
    return StepEffect(evolve(state, pending=(evolve(step, op="check-delete"),)))


# --- what is shown ---


def _snapshots(state: VmState) -> str:
    disks = [node for node in all_disks(state) if _listable(state, node)]
    if not disks:
        return error_text(_NOWHERE) if state.profile.failing_status else f"{_NOWHERE}\r\n"
    first, *others = disks
    whole = [
        snapshot
        for snapshot in _held(state, first)
        if all(find_snapshot(state, other, snapshot.name) is not None for other in others)
    ]
    names = {snapshot.name for snapshot in whole}
    partial = [
        (_drive_id(state, node), [s for s in _held(state, node) if s.name not in names])
        for node in disks
    ]
    held = [(name, snapshots) for name, snapshots in partial if snapshots]
    return snapshot_lists(whole, held, wide=not state.profile.has_singlestep)


def _listable(state: VmState, node: Node) -> bool:
    return can_snapshot(state, node) and snapshots_listable(state.graph, node) is not None


def _held(state: VmState, node: Node) -> tuple[qcow2.LayerSnapshot, ...]:
    image = snapshots_listable(state.graph, node)
    return () if image is None else image.layer.snapshots


def _drive_id(state: VmState, node: Node) -> str:
    return next((device.name for device in state.devices if device.node == node.name), "")


def _status(state: VmState) -> str:
    words = "running" if state.running else "paused"
    more = "" if state.running or state.run_state == "paused" else f" ({state.run_state})"
    return f"VM status: {words}{more}\r\n"


HMP_STEPS = {
    "check-savevm": _check_savevm,
    "check-loadvm": _check_loadvm,
    "check-delvm": _check_delvm,
}
