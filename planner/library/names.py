"""Every name that `snapplan` has, each from where it lives; imported when one is first used."""

from __future__ import annotations

from planner.compile.plan import Plan
from planner.delete.delete_checks import Overlays
from planner.errors import (
    BadInput,
    CannotConnect,
    InternalError,
    Interrupted,
    OutcomeUnknown,
    Problem,
    Refused,
    RunFailed,
    SnapplanError,
    UndoIncomplete,
    Violation,
    VmChanged,
)
from planner.library.attaching import Attachment, attach
from planner.library.progress import Progress
from planner.library.vm import Snapshot, Vm
from planner.model.facts import Facts
from planner.model.manifest import ManifestPart
from planner.model.request import (
    Capture,
    Exclude,
    ExistingTag,
    External,
    ExternalMachineState,
    FreezeFilesystems,
    Internal,
    InternalMachineState,
    NoMachineState,
    Others,
    Request,
    RunStateAfter,
)
from planner.parts.holdings import Standing
from planner.present.verdict_view import Verdict
from planner.run.ports import Backend
from planner.store.store import Store

__all__ = [
    "Attachment",
    "Backend",
    "BadInput",
    "CannotConnect",
    "Capture",
    "Exclude",
    "ExistingTag",
    "External",
    "ExternalMachineState",
    "Facts",
    "FreezeFilesystems",
    "Internal",
    "InternalError",
    "InternalMachineState",
    "Interrupted",
    "ManifestPart",
    "NoMachineState",
    "Others",
    "OutcomeUnknown",
    "Overlays",
    "Plan",
    "Problem",
    "Progress",
    "Refused",
    "Request",
    "RunFailed",
    "RunStateAfter",
    "SnapplanError",
    "Snapshot",
    "Standing",
    "Store",
    "UndoIncomplete",
    "Verdict",
    "Violation",
    "Vm",
    "VmChanged",
    "attach",
]
