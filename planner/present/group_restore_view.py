"""A group whose members were restored in new QEMUs, for a person and for programs."""

from __future__ import annotations

from planner.load.started import GroupRestored
from planner.present.outputs import output
from planner.present.outside_view import left_out_lines
from planner.present.tables import table
from planner.present.visible import as_lines

__all__ = ["group_restored_text", "group_restored_to_plain"]


def group_restored_text(restored: GroupRestored) -> str:
    """What was restored, and where its VMs are."""
    rows = [("MEMBER", "TAG", "THE VM IS", "PID", "QMP SOCKET")]
    disks = [("MEMBER", "DISK", "HOW", "FILE")]
    outside = []
    for each in restored.record.members:
        one = restored.members[each.name]
        rows.append((each.name, each.tag, one.run_state, str(one.pid), one.socket))
        disks += [(each.name, d.part.disk, d.how.value, d.file) for d in one.plan.disks]
        outside += [f"{each.name}: {line}" for line in left_out_lines(one.plan.manifest)]
    head = f"Group {restored.record.name!r} is restored, all its members in new QEMUs."
    return as_lines([head, table(rows, "  "), table(disks, "  "), *outside])


def group_restored_to_plain(restored: GroupRestored) -> dict[str, object]:
    """What `group_restored_text` says, as plain values."""
    members = [
        {
            "member": each.name,
            "tag": each.tag,
            "run-state": (one := restored.members[each.name]).run_state,
            "pid": one.pid,
            "qmp-socket": one.socket,
            "disks": [
                {"disk": d.part.disk, "how": d.how.value, "file": d.file, "format": d.format}
                for d in one.plan.disks
            ],
        }
        for each in restored.record.members
    ]
    return output("group", {"restored": {"group": restored.record.name, "members": members}})
