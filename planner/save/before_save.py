"""What is looked at just before a run begins that the compiler cannot see: what is recorded already."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from planner.compile.plan import Plan
from planner.errors import Problem, Refused, SnapplanError
from planner.model.facts import Facts
from planner.parts.manifest import Manifest
from planner.parts.part import ManifestPart
from planner.store.store import VmStore

__all__ = ["check_tag_free"]


def check_tag_free(vm: VmStore, plan: Plan, facts: Facts) -> None:
    """Refuse a tag whose earlier snapshot is recorded and still there, in part or whole.

    What the disks of the request hold the compiler has looked at; a manifest knows of more.

    Raises:
        Refused: With one problem for each part (``tag-taken``).
    """
    try:
        manifest = vm.manifest(plan.request.tag)
    except SnapplanError:
        return  # a damaged manifest is replaced by the new one
    if manifest is None:
        return
    problems = tuple(_in_the_way(manifest, plan, facts))
    if problems:
        message = f"a snapshot {manifest.tag!r} is recorded already"
        raise Refused(message, problems=problems, code="tag-taken")


def _in_the_way(manifest: Manifest, plan: Plan, facts: Facts) -> Iterator[Problem]:
    disks = {disk.name: disk for disk in facts.disks}
    replaced = {(old.disk, old.id) for old in plan.program.resolution.replaced}
    for part in manifest.parts:
        taken = part.taken_by(manifest.tag, disks.get(part.disk), replaced)
        if Path(part.file).exists() if taken is None else taken:
            yield _taken(part.subject, part)


def _taken(where: str, part: ManifestPart) -> Problem:
    return Problem(
        "tag-taken",
        where,
        f"the earlier snapshot of that tag has a part there ({part.kind}), as its manifest says",
        "choose another tag, or delete it first",
    )
