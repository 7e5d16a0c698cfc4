"""Consistent snapshots of QEMU virtual machines: save, go back, delete, and undo what fails.

    import asyncio, snapplan

    async def main(qmp):                              # a socket's path, or a connected QMPClient
        async with snapplan.attach(qmp) as vm:        # snapplan.sync.attach is its blocking twin
            snapshot = await vm.save("before", on_progress=print)
            await snapshot.load()
            await snapshot.delete()

Everything here is imported when something of it is first used, so that ``import snapplan`` costs next
to nothing.  Errors are one tree (`SnapplanError`): each has a stable ``code``, its ``problems`` as data,
and says in ``vm_state`` what the VM is in now.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planner.library import sync
    from planner.library.names import (
        Attachment,
        Backend,
        BadInput,
        CannotConnect,
        Capture,
        Clone,
        Cloned,
        Collected,
        Copy,
        DesignReport,
        Exclude,
        ExistingTag,
        External,
        ExternalMachineState,
        Facts,
        Forgotten,
        FreezeFilesystems,
        Group,
        GroupPlan,
        ImageMachineState,
        Inspection,
        Internal,
        InternalError,
        InternalMachineState,
        Interrupted,
        Joined,
        KnownRestore,
        ListedRestores,
        Manifest,
        ManifestPart,
        NoMachineState,
        Orphan,
        Others,
        Outcome,
        OutcomeUnknown,
        Overlays,
        Pending,
        Plan,
        Pool,
        Problem,
        Progress,
        ProgressKind,
        Promoted,
        Recovered,
        Refused,
        Request,
        Restored,
        RestorePlan,
        RunFailed,
        RunStateAfter,
        SnapplanError,
        Snapshot,
        Standing,
        Store,
        StoredSnapshots,
        Template,
        UndoIncomplete,
        Verdict,
        Violation,
        Vm,
        VmChanged,
        attach,
        clone,
        collect,
        drop_restore,
        drop_template,
        find_group,
        forget,
        forget_snapshot,
        list_restores,
        make_template,
        pending,
        plan_group,
        plan_text,
        pool,
        prepare_restore,
        promote_restore,
        read_request,
        recover,
        request_digest,
        restore,
        save_group,
        stored,
    )

    __version__: str

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
    "__version__",
    "sync",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - costs more than all the rest

        return version("snapplan")
    if name == "sync":
        return importlib.import_module(".sync", __name__)
    if name not in __all__:
        raise AttributeError(f"module 'snapplan' has no attribute {name!r}")
    return getattr(importlib.import_module(".names", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
