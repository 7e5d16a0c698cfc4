"""Findings about tags: what a tag may be, and who holds it already."""

from __future__ import annotations

from collections.abc import Iterator

from planner.lint.moment import FIRST, INTERNAL, Moment, NamedDisk, Rule
from planner.lint.program import Command, Finding
from planner.model.tag import tag_problems
from planner.semantics import Node, snapshot_node

__all__ = ["RULES"]

_TAGGED = ("snapshot-save", "snapshot-load", "transaction", INTERNAL)


def _shape(at: Moment) -> Iterator[Finding]:
    if at.execute not in _TAGGED:
        return
    tags = dict.fromkeys(target.tag for target in at.targets())
    if at.execute.startswith("snapshot-"):
        tags = {at.text("tag"): None}
    for tag in tags:
        for problem in tag_problems(tag):
            yield at.finding(problem.code, problem.message, problem.remedy)


def _taken(at: Moment) -> Iterator[Finding]:
    if not at.makes_snapshots:
        return
    targets = [target for target in at.targets() if target.node is not None]
    held = [target for target in targets if _holds(at, target)]
    if not held:
        return
    own = [t for t in held if _made_here(at, t)]
    if own and at.execute == "snapshot-save":
        yield from _snapshotted_before(at, own)
        return
    names = _few([target.name for target in held])
    if at.execute == "snapshot-save" and len(held) < len(targets):
        yield at.finding(
            "tag-on-some-disks",
            f"{names} hold {held[0].tag!r} already, the others do not: QEMU saves a second one of "
            "that name, and if it then fails, deletes the old one (fact 7)",
            "use another tag, or delete the old snapshots by id and name first",
        )
        return
    yield at.finding(
        "tag-taken",
        f"{names} hold {held[0].tag!r} already; QEMU refuses (facts 7 and 25)",
        "use another tag, or delete the old snapshots by id and name first",
    )


def _snapshotted_before(at: Moment, own: list[NamedDisk]) -> Iterator[Finding]:
    vmstate = at.command.arguments.get("vmstate")
    holder = [target.name for target in own if target.name == vmstate]
    if holder:
        yield at.finding(
            "vmstate-before-snapshot",
            f"{holder[0]} was snapshotted as {own[0].tag!r} before its vmstate is written: that "
            "snapshot holds no machine state (fact 21)",
            "let snapshot-save alone snapshot the vmstate disk, and the transaction the others",
        )
        return
    yield at.finding(
        "device-twice",
        f"{_few([target.name for target in own])} got {own[0].tag!r} by a command before: two "
        "snapshots of one name (fact 7)",
        "name each disk in one command of the snapshot only",
    )


def _holds(at: Moment, target: NamedDisk) -> bool:
    return target.tag in {s.name for s in _image(at, target.node).layer.snapshots}


def _made_here(at: Moment, target: NamedDisk) -> bool:
    return target.tag in _new_ids(at, target).values()


def _new_ids(at: Moment, target: NamedDisk) -> dict[str, str]:
    """The snapshots that the sequence itself has made on a disk: names by id."""
    image = _image(at, target.node)
    before = at.stage.state.graph.get(image.name)
    old = {s.id for s in before.layer.snapshots} if before is not None else set()
    return {s.id: s.name for s in image.layer.snapshots if s.id not in old}


def _image(at: Moment, node: Node | None) -> Node:
    found = snapshot_node(at.state.graph, node) if node is not None else None
    return found or node or Node("", "")


def _deletions(at: Moment) -> Iterator[Finding]:
    if at.execute == "snapshot-delete":
        yield at.finding(
            "delete-by-name",
            f"it deletes the first snapshot named {at.text('tag')!r} of each disk, whichever that is, "
            "and succeeds where there is none (fact 22)",
            "blockdev-snapshot-delete-internal-sync with id and name",
        )
    elif at.execute == "blockdev-snapshot-delete-internal-sync" and not at.text("id"):
        yield at.finding(
            "delete-by-name",
            "without an id it deletes the first snapshot of that name, whichever that is (fact 22)",
            "give id and name",
        )


def _old_until_new(at: Moment) -> Iterator[Finding]:
    """Old snapshots that went before anything new was there; told when the new one is made."""
    if at.makes_snapshots and at.targets():
        for command, name in at.memory.deletions:
            yield _gone_too_early(command, name)
        at.memory.deletions.clear()
    for target in at.targets() if _deletes(at) else ():
        given_up = (target.name, at.text("id")) in at.listing.given_up
        if not given_up and not _new_ids(at, target):
            at.memory.deletions.append((at.command, target.name))


def _deletes(at: Moment) -> bool:
    return at.execute in ("snapshot-delete", "blockdev-snapshot-delete-internal-sync")


def _gone_too_early(command: Command, name: str) -> Finding:
    return Finding(
        command.line,
        "old-until-new",
        command.execute,
        f"{name} loses an old snapshot before the new one is there: should the new one fail, nothing "
        "is left",
        "make the new snapshot under another tag, see it complete, then delete the old one",
    )


def _few(names: list[str]) -> str:
    more = len(names) - FIRST
    return ", ".join(names[:FIRST]) + (f" and {more} more" if more > 0 else "")


RULES: tuple[Rule, ...] = (_shape, _taken, _deletions, _old_until_new)
