"""What a finished run is recorded as: its manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from planner.compile.plan import Plan
from planner.compile.plan_text import plan_to_plain
from planner.model.ancestor import Ancestor
from planner.model.facts import Facts
from planner.model.group_run import GroupRun
from planner.model.outside import outside_of
from planner.model.request import ServedBy
from planner.model.request_digest import request_digest
from planner.parts.disk_part import DiskPart
from planner.parts.left_out_checks import left_out_of
from planner.parts.manifest import Manifest
from planner.parts.reach import needs_vm
from planner.program.program import canonical_json
from planner.run.outcome import Outcome

__all__ = ["manifest_of", "program_digest"]


def program_digest(plan: Plan) -> str:
    """SHA-256 of a plan's program in its canonical JSON."""
    text = canonical_json(plan_to_plain(plan)["program"])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def manifest_of(  # noqa: PLR0913 - what a manifest says
    plan: Plan,
    facts: Facts,
    outcome: Outcome,
    *,
    address: str,
    started_ns: int,
    ended_ns: int,
    ancestors: tuple[Ancestor, ...] = (),
    group: GroupRun | None = None,
) -> Manifest:
    """The manifest of a run that is done.

    Args:
        plan: What it ran.
        facts: The VM just before.
        outcome: Its end, with every part as the VM showed it.
        address: Where the VM's socket was.
        started_ns: Host's wall clock when it began.
        ended_ns: The same when the VM had shown the last part.
        ancestors: The snapshot that the VM stood on, then that one's ancestors.
        group: The group that it is a member's snapshot of; None: of none.
    """
    program = plan.program
    disks = {disk.name: disk for disk in facts.disks}
    parts = tuple(sorted(part.recorded(disks) for part in outcome.parts))
    return Manifest(
        tag=program.resolution.tag,
        design=program.design,
        program_digest=program_digest(plan),
        qemu=facts.qemu,
        machine=facts.machine,
        memory_bytes=facts.memory_bytes,
        hardware=facts.hardware,
        added=facts.devices if facts.hardware is not None else (),
        parts=parts,
        target=facts.target,
        vm=facts.vm_uuid or facts.vm_name,
        address=address,
        devices=tuple(sorted((disk.name, disk.qdev) for disk in facts.disks if disk.qdev)),
        started_ns=started_ns,
        ended_ns=ended_ns,
        excluded=program.resolution.excluded,
        outside=program.resolution.outside,
        served=tuple(_served(plan, facts)),
        left_out=tuple(left_out_of(program.resolution.excluded, facts)),
        needs_vm=tuple(
            (part.disk, problem.code)
            for part in parts
            if isinstance(part, DiskPart)
            for problem in needs_vm(disks[part.disk])
        ),
        description=plan.request.description,
        ancestors=ancestors,
        group=group,
        request_digest=request_digest(plan.request),
    )


def _served(plan: Plan, facts: Facts) -> Iterator[tuple[str, str]]:
    """What is outside of the block layer and another member's part: name, and that member's."""
    asked = {name: wish.member for name, wish in plan.request.disks if isinstance(wish, ServedBy)}
    for outside in outside_of(facts):
        yield from ((outside.name, asked[name]) for name in outside.names if name in asked)
