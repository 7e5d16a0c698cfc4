"""Every name that `snapplan` has, each from where it lives; imported when one is first used."""

from __future__ import annotations

from planner.collect.unneeded import Orphan
from planner.compare.comparison import DesignReport
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
from planner.group.planning import GroupPlan
from planner.inspect.inspecting import Inspection
from planner.library.attaching import Attachment, attach
from planner.library.clones import Clone, Pool, clone, pool
from planner.library.groups import Group, find_group, plan_group, save_group
from planner.library.kept import (
    ListedRestores,
    drop_restore,
    forget_snapshot,
    list_restores,
    promote_restore,
)
from planner.library.progress import Progress, ProgressKind
from planner.library.requests import plan_text, read_request, request_digest
from planner.library.restores import prepare_restore, restore
from planner.library.snapshot import Snapshot
from planner.library.stores import collect, forget, pending, recover, stored
from planner.library.templates import drop_template, make_template
from planner.library.vm import Vm
from planner.load.fresh_qemu import RestorePlan
from planner.load.started import Restored
from planner.model.facts import Facts
from planner.model.request import (
    Capture,
    Copy,
    Exclude,
    ExistingTag,
    External,
    ExternalMachineState,
    FreezeFilesystems,
    ImageMachineState,
    Internal,
    InternalMachineState,
    NoMachineState,
    Others,
    Request,
    RunStateAfter,
)
from planner.parts.holdings import Standing
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart
from planner.parts.template import Template
from planner.present.verdict_view import Verdict
from planner.recover.recovery import Pending, Recovered
from planner.run.outcome import Outcome
from planner.run.ports import Backend
from planner.store.naming import StoredSnapshots
from planner.store.promoting import Promoted
from planner.store.restores import KnownRestore
from planner.store.store import Store
from planner.template.clone_plan import Cloned
from planner.verbs.collect import Collected
from planner.verbs.forget import Forgotten
from planner.verbs.huge_pages import Joined

__all__ = [
    "Attachment",
    "Backend",
    "BadInput",
    "CannotConnect",
    "Capture",
    "Clone",
    "Cloned",
    "Collected",
    "Copy",
    "DesignReport",
    "Exclude",
    "ExistingTag",
    "External",
    "ExternalMachineState",
    "ImageMachineState",
    "Facts",
    "Forgotten",
    "FreezeFilesystems",
    "Group",
    "GroupPlan",
    "Inspection",
    "Internal",
    "InternalError",
    "InternalMachineState",
    "Interrupted",
    "Joined",
    "KnownRestore",
    "ListedRestores",
    "Manifest",
    "ManifestPart",
    "NoMachineState",
    "Orphan",
    "Others",
    "Outcome",
    "OutcomeUnknown",
    "Overlays",
    "Pending",
    "Plan",
    "Pool",
    "Problem",
    "Progress",
    "ProgressKind",
    "Promoted",
    "Recovered",
    "Refused",
    "Request",
    "RestorePlan",
    "Restored",
    "RunFailed",
    "RunStateAfter",
    "SnapplanError",
    "Snapshot",
    "Standing",
    "Store",
    "StoredSnapshots",
    "Template",
    "UndoIncomplete",
    "Verdict",
    "Violation",
    "Vm",
    "VmChanged",
    "attach",
    "clone",
    "collect",
    "drop_restore",
    "drop_template",
    "find_group",
    "forget",
    "forget_snapshot",
    "list_restores",
    "make_template",
    "pending",
    "plan_group",
    "plan_text",
    "pool",
    "prepare_restore",
    "promote_restore",
    "read_request",
    "recover",
    "request_digest",
    "restore",
    "save_group",
    "stored",
]
