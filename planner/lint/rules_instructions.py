"""Findings about commands, actions and migration settings that do not do what they seem to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from planner.lint.moment import Moment, Rule
from planner.lint.program import Finding
from planner.lint.vm import COPIES, actions_of, hmp_snapshot, told_by
from planner.semantics import all_disks, find_snapshot

__all__ = ["RULES"]

_ACTIONS = (
    "abort", "block-dirty-bitmap-add", "block-dirty-bitmap-remove", "block-dirty-bitmap-clear",
    "block-dirty-bitmap-enable", "block-dirty-bitmap-disable", "block-dirty-bitmap-merge",
    "blockdev-backup", "blockdev-snapshot", "blockdev-snapshot-internal-sync",
    "blockdev-snapshot-sync", "drive-backup",
)  # fmt: skip
"""What a transaction can hold in every QEMU from 7.2 to 11.1 (fact 24)."""


def _actions(at: Moment) -> Iterator[Finding]:
    actions = actions_of(at.command)
    for kind in dict.fromkeys(str(action.get("type")) for action in actions):
        if kind not in _ACTIONS:
            yield at.finding(
                "action-unknown",
                f"no QEMU takes {kind!r} in a transaction: it holds neither machine state nor stop, "
                "cont or migrate (fact 24)",
                "stop; snapshot-save of the vmstate disk alone; the transaction; cont (fact 13)",
            )
    properties = at.arguments.get("properties")
    grouped = isinstance(properties, Mapping) and properties.get("completion-mode") == "grouped"
    kinds = {str(action.get("type")) for action in actions}
    if grouped and kinds - set(COPIES):
        yield at.finding(
            "completion-mode-grouped",
            "completion-mode grouped is for backups: QEMU refuses it with snapshots (fact 27)",
            "leave properties out: a transaction of snapshots is all or nothing anyway",
        )


def _by_path(at: Moment) -> Iterator[Finding]:
    told = (data for kind, data in told_by(at.command) if kind == "blockdev-snapshot-sync")
    if any(data.get("mode") != "existing" for data in told):
        yield at.finding(
            "snapshot-sync-overwrites",
            "blockdev-snapshot-sync overwrites an existing file without a word, and leaves the new "
            "one behind when it fails (fact 26)",
            "make the image, blockdev-add it before the pause, then blockdev-snapshot",
        )


def _hmp(at: Moment) -> Iterator[Finding]:
    said = hmp_snapshot(at.command)
    if said is None:
        return
    name, tag = said
    lost = ", ".join(
        node.name
        for node in all_disks(at.state)
        if name == "savevm" and find_snapshot(at.state, node, tag) is not None
    )
    also = f"; it deletes {tag!r} of {lost} first" if lost else ""
    yield at.finding(
        "hmp-snapshot",
        f"{name} takes every writable disk, and says what goes wrong in a text that is no error of QMP "
        f"(facts 100 and 101){also}",
        "use the jobs snapshot-save, snapshot-load, snapshot-delete",
    )


def _overlay_ready(at: Moment) -> Iterator[Finding]:
    if at.execute in ("blockdev-add", "blockdev-create") and at.memory.stops:
        yield at.finding(
            "overlay-ready",
            f"it opens an image while the guest is paused (since line {at.memory.stops}): the pause "
            "lasts as long as that does",
            "add overlays before the pause",
        )


def _capabilities(at: Moment) -> Iterator[Finding]:
    if at.execute == "migrate-set-capabilities":
        for change in _changes(at):
            name = str(change.get("capability"))
            (at.memory.capabilities.add if change.get("state") else at.memory.capabilities.discard)(
                name
            )
    if at.execute not in ("migrate-set-capabilities", "migrate"):
        return
    if "background-snapshot" not in at.memory.capabilities or at.execute == "migrate":
        return
    for other in sorted(at.memory.capabilities & {"mapped-ram", "multifd"}):
        end = "cannot be loaded" if other == "mapped-ram" else "is refused"
        yield at.finding(
            "background-incompatible",
            f"background-snapshot with {other}: the stream {end} (fact 42)",
            f"switch {other} off",
        )
    if at.stage.version and at.stage.version < (8,):
        yield at.finding(
            "background-unsafe",
            "this QEMU resumes the guest by itself during a background snapshot, and freezes it for "
            "good where one fails (fact 41)",
            "use a stopped or live capture, or QEMU 10.0 or newer",
        )


def _changes(at: Moment) -> Iterator[Mapping[str, object]]:
    changes = at.arguments.get("capabilities")
    for change in changes if isinstance(changes, list) else ():
        if isinstance(change, Mapping):
            yield change


def _stream_target(at: Moment) -> Iterator[Finding]:
    if at.execute != "migrate":
        return
    uri = at.text("uri")
    if uri.startswith("fd:") and at.stage.version >= (11,):
        yield at.finding(
            "fd-takes-no-file",
            "this QEMU writes no stream to a file through fd: (fact 31)",
            "use file:PATH",
        )
    if uri.startswith("exec:") and ">" in uri:
        yield at.finding(
            "stream-readable",
            "a shell makes that file readable for everybody, and it holds the guest's memory "
            "(fact 31)",
            "pass a descriptor of a file of mode 0600 (getfd, fd:), from 8.2 file:",
        )


def _tracking(at: Moment) -> Iterator[Finding]:
    if at.execute == "cont" and at.memory.pending_background:
        yield at.finding(
            "tracking-before-resume",
            f"the guest resumes before write tracking of the migrate of line "
            f"{at.memory.pending_background} was seen to be on: QEMU stops it again and saves that "
            "later instant, which does not match the disks (fact 40)",
            "poll query-migrate until ram.normal + ram.duplicate > 0, then cont (fact 39)",
        )


def _switchover(at: Moment) -> Iterator[Finding]:
    begun = at.memory.migrate
    if begun is None or at.memory.stops != begun.line or at.state.run_state != "finish-migrate":
        return
    if at.makes_snapshots or at.execute == "blockdev-snapshot":
        yield at.finding(
            "outcome-seen",
            f"no query has shown that the migrate of line {begun.line} reached pre-switchover: until "
            "then the guest runs, and the disks are of an earlier instant than the machine "
            "state (fact 30)",
            "wait for MIGRATION pre-switchover, or poll query-migrate",
        )


RULES: tuple[Rule, ...] = (
    _actions,
    _by_path,
    _hmp,
    _overlay_ready,
    _capabilities,
    _stream_target,
    _tracking,
    _switchover,
)
