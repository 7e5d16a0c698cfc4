"""`drive-backup`: a copy of a disk into a file that QEMU makes, opens and closes itself.

Theory: it is a `blockdev-backup` whose target is made while the action is prepared; a file that is
there is overwritten, also where the action then fails.  The job is called after the ``-drive`` unless
it has an id.

Source: fact 152.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from attrs import evolve

from planner.semantics.backup import TWO_COPIES, begin_backup, copied, prepare_step
from planner.semantics.block import FILTER_DRIVERS, lookup, write_locked
from planner.semantics.create_image import emptied
from planner.semantics.nodes import LOCKED, add_tree, without_nodes
from planner.semantics.result import MicroStep, QmpEvent
from planner.semantics.state import Backup, MadeFile, VmState

__all__ = ["begin_drive_backup", "drive_backup_step"]

_FORMATS = ("qcow2", "raw")


def drive_backup_step(data: Mapping[str, Any], number: int) -> MicroStep:
    """The action's preparation; a job without an id has that of its device."""
    step = prepare_step({**data, "target": json.dumps(dict(data))}, number)
    return evolve(step, op="prepare-drive-backup")


def begin_drive_backup(
    state: VmState, step: MicroStep
) -> tuple[VmState, str, tuple[QmpEvent, ...]]:
    """Make the target and begin to copy; or why there is no copy, and what was made all the same."""
    data = json.loads(step.detail)
    source = lookup(state, step.node)
    if source is None:
        return state, f"Cannot find device='{step.node}' nor node-name='{step.node}'", ()
    if copied(state, source):
        return state, TWO_COPIES, ()
    driver = data.get("format", source.driver)
    if "format" not in data and driver in FILTER_DRIVERS:
        return state, f"Format driver '{driver}' does not support image creation", ()
    if driver not in _FORMATS:
        return state, f"Unknown file format '{driver}'", ()
    if write_locked(state, data["target"]):
        return state, LOCKED, ()
    if data.get("mode") != "existing":
        state = emptied(state, MadeFile(data["target"], driver, source.size_bytes))
    options = {"driver": driver, "file": {"driver": "file", "filename": data["target"]}}
    opened, target = add_tree(state, options, owned=False)
    begun, problem, events = begin_backup(opened, evolve(step, detail=target.name))
    if problem:
        return without_nodes(opened, {target.name}), problem, ()
    job = begun.jobs[-1]
    backup = evolve(cast("Backup", job.backup), made_target=True)
    return begun.with_job(evolve(job, backup=backup)), "", events
