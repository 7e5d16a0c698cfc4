"""Findings about the disks that a command names: what a name means, and what the disk can do."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve

from planner.compile.refusals import (
    can_be_internal,
    disk_problems,
    has_room,
    holds_machine_state,
)
from planner.lint.captures import CapturedPart
from planner.lint.moment import Moment, NamedDisk, Rule
from planner.lint.program import Command, Finding, Listing
from planner.lint.vm import TrialVm, names_of, told_by
from planner.semantics import snapshot_node

__all__ = ["RULES", "left_out_of_a_stream"]

_OVERLAYS = ("blockdev-snapshot", "blockdev-snapshot-sync")


def _names(at: Moment) -> Iterator[Finding]:
    for target in _once(at.targets()):
        if at.unknown_because(target.name):
            continue
        if target.node is None:
            yield _unknown(at, target)
        elif not target.by_node and target.node.name in at.state.graph.parents:
            yield at.finding(
                "name-not-root",
                f"{target.name!r} is below another node: this command takes a -drive id or a root "
                "node's name (fact 11)",
                _use(at, target),
            )
        elif _is_below(at, target):
            yield at.finding(
                "node-below-disk",
                f"{target.name!r} is no disk's image but a node below one (fact 6)",
                "name the disk's own node",
            )


def _is_below(at: Moment, target: NamedDisk) -> bool:
    """Whether a node lies below a disk; one that nothing uses may be there for machine state alone."""
    if not at.makes_snapshots or at.stage.facts is None or target.disk is not None:
        return False
    return target.node is not None and target.node.name in at.state.graph.parents


def _unknown(at: Moment, target: NamedDisk) -> Finding:
    facts = at.stage.facts
    found = () if facts is None else tuple(facts.by_name().get(target.name, ()))
    if found:
        kind = "-drive id" if found[0].drive_id == target.name else "qdev id"
        takes = "node names only" if target.by_node else "a -drive id or a root node's name"
        return at.finding(
            "name-not-node",
            f"{target.name!r} is a {kind}, and this command takes {takes} (fact 11)",
            _use(at, target),
        )
    if target.name.startswith("#"):
        return at.finding(
            "disk-unknown",
            f"{target.name!r} is a name that QEMU made up; it changes at every start",
            "give the node a name of your own (node-name=), or check with --vm",
        )
    return at.finding("disk-unknown", f"the VM has no disk {target.name!r}", "see snapplan inspect")


def _use(at: Moment, target: NamedDisk) -> str:
    facts = at.stage.facts
    found = () if facts is None else tuple(facts.by_name().get(target.name, ()))
    if not found:
        return ""
    name = found[0].node if target.by_node else found[0].root
    if name.startswith("@"):
        return "give the disk a node name of your own, or look it up in query-block"
    return f"write {name!r}"


def _once(targets: tuple[NamedDisk, ...]) -> tuple[NamedDisk, ...]:
    return tuple({target.name: target for target in targets}.values())


def _abilities(at: Moment) -> Iterator[Finding]:
    if not at.makes_snapshots:
        return
    for target in _once(at.targets()):
        if target.disk is None:
            continue
        problems = [p for p in can_be_internal(target.disk) if p.code != "node-inactive"]
        problems += has_room(target.disk)
        if at.execute != "snapshot-save":
            problems += disk_problems(target.disk)
        elif target.name == at.text("vmstate"):
            problems += holds_machine_state(target.disk, at.stage.disks.values())
        for problem in problems:
            yield at.finding(problem.code, f"{target.name}: {problem.message}", problem.remedy)


def _twice(at: Moment) -> Iterator[Finding]:
    targets = at.targets()
    names = [target.name for target in targets]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield at.finding(
                "device-twice",
                f"{name!r} stands there {names.count(name)} times: it gets as many snapshots of one "
                "name (fact 5)",
                "name each disk once",
            )
    by_image: dict[str, list[str]] = {}
    for target in _once(targets):
        image = snapshot_node(at.state.graph, target.node) if target.node else None
        if image is not None:
            by_image.setdefault(image.name, []).append(target.name)
    for found in by_image.values():
        if len(found) > 1:
            yield at.finding(
                "filter-and-child",
                f"{' and '.join(found)} are one disk: a filter passes to its child, which is "
                "snapshotted twice (fact 11)",
                "name one of them",
            )


def _left_out(at: Moment) -> Iterator[Finding]:
    """A save of machine state over some of the VM's disks only."""
    if at.execute != "snapshot-save" or at.stage.facts is None:
        return
    tag = at.text("tag")
    known = at.stage.facts.by_name()
    meant = {
        disk.name
        for command in at.listing.commands
        for target in _targets_of(at, command)
        if target.tag == tag
        for disk in (target.disk, *known.get(target.name, ()))  # also by a name that is not taken
        if disk is not None
    }
    meant |= {disk for command in at.listing.commands for disk in _frozen_by(at, command)}
    for disk in at.stage.facts.disks:
        named = disk.name in meant | at.listing.left_out
        if named or not disk.attached or any(can_be_internal(disk)):
            continue
        yield at.finding(
            "tag-on-some-disks",
            f"{disk.name} gets no part of {tag!r}: it goes on while the others are loaded back "
            "(fact 19)",
            f"name {disk.name} too, or write a request that excludes it",
        )


def left_out_of_a_stream(
    listing: Listing, stage: TrialVm, captures: list[CapturedPart]
) -> Iterator[Finding]:
    """Disks that get no part of machine state that is saved beside others."""
    streams = [part for part in captures if part.is_stream and not part.leaves_memory_out]
    captured = {part.disk or part.what for part in captures if not part.is_stream}
    named = {name for command in listing.commands for name in names_of(command)}
    if not captured or stage.facts is None:
        return
    lacking = [
        disk.name
        for name, disk in stage.disks.items()
        if name not in captured
        and disk.attached
        and not disk.read_only
        and not named & {disk.name, disk.node, disk.root, disk.drive_id}
    ]
    names = ", ".join(name for name in lacking if name not in listing.left_out)
    for stream in streams if names else ():
        yield Finding(
            stream.command.line,
            "tag-on-some-disks",
            stream.command.execute,
            f"{names}: no part of it beside this machine state; it goes on while the others are loaded "
            "back (fact 19)",
            f"capture {names} too, or write a request that excludes it",
        )


def _frozen_by(at: Moment, command: Command) -> Iterator[str]:
    """The disks that a command puts an overlay on: the image below is their part."""
    for kind, data in told_by(command):
        if kind in _OVERLAYS:
            name = data.get("node") or data.get("node-name") or data.get("device")
            disk = at.target(str(name), "", by_node=False).disk
            if disk is not None:
                yield disk.name


def _targets_of(at: Moment, command: Command) -> tuple[NamedDisk, ...]:
    return evolve(at, command=command, arguments=command.arguments).targets()


def _inactive(at: Moment) -> Iterator[Finding]:
    if not at.makes_snapshots:
        return
    names = [t.name for t in at.targets() if t.node is not None and not t.node.active]
    if names:
        yield at.finding(
            "nodes-active",
            f"{', '.join(dict.fromkeys(names))}: the nodes are inactive since the migration "
            'completed; QEMU will say that the format "does not support internal snapshots" '
            "(fact 29)",
            "take the internal snapshots before the migration ends: stopped, the transaction first; "
            "live, in pre-switchover",
        )


RULES: tuple[Rule, ...] = (_names, _abilities, _twice, _left_out, _inactive)
