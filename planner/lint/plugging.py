"""Findings about what is plugged and unplugged between a save and its load.

Theory: a snapshot holds the state of the devices that there were.  One that came later is in no stream:
the load succeeds, and the guest goes on with a device that its memory does not know.  One that went is
looked for when the disks are reverted already, and the load fails (fact 151).  What is no device
(objects, network backends, character devices) is in no snapshot and stops no load (fact 154).

Rules: of a snapshot that was there before, nobody knows its devices, so nothing is found.  `device_del`
only asks the guest; where a recording shows events, a device goes when one of them says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import evolve

from planner.lint.moment import FIRST, Moment, Rule
from planner.lint.program import Finding, Said
from planner.lint.vm import hmp_snapshot
from planner.semantics import CommandResult, InjectedFailure, VmState, advance, start

__all__ = ["RULES", "WITHOUT_EFFECT", "device_event", "run_failing", "saves", "tag_loaded"]

WITHOUT_EFFECT = frozenset(
    {
        "device_add", "device_del", "object-add", "object-del", "netdev_add", "netdev_del",
        "chardev-add", "chardev-remove", "chardev-change",
    }
)  # fmt: skip
"""Commands whose effect on snapshots is known here, though the model does not do what they do."""
_READS = "read-vmstate"


def tag_loaded(at: Moment) -> str:
    """The tag whose machine state a command loads; empty: it loads none."""
    return _tag(at, "snapshot-load", "loadvm")


def saves(at: Moment) -> str:
    """The tag under which a command saves machine state; empty: it saves none."""
    return _tag(at, "snapshot-save", "savevm")


def _tag(at: Moment, job: str, human: str) -> str:
    if at.execute == job:
        return at.text("tag")
    said = hmp_snapshot(at.command)
    return said[1] if said and said[0] == human else ""


def device_event(at: Moment, said: Said) -> None:
    """An event of a recording says that a device is gone."""
    if said.event == "DEVICE_DELETED" and isinstance(said.data.get("device"), str):
        name = str(said.data["device"])
        at.memory.devices.remove(name, at.memory.devices.asked.get(name, said.line))


def _plugged(at: Moment) -> Iterator[Finding]:
    devices, line = at.memory.devices, at.command.line
    if at.command.refused:
        return iter(())
    if at.execute == "device_add":
        name = at.text("id") or f"the {at.text('driver')} of line {line}"
        if devices.gone.pop(name, 0) == 0:
            devices.added[name] = line
    elif at.execute == "device_del":
        name = at.text("id").rpartition("/")[2]
        devices.asked[name] = line
        if not any(isinstance(entry, Said) for entry in at.listing.entries):
            devices.remove(name, line)  # a list of commands has no events
    return iter(())


def _loaded(at: Moment) -> Iterator[Finding]:
    tag = tag_loaded(at)
    later, missing = at.memory.devices.later(tag), at.memory.devices.missing(tag)
    if missing:
        yield at.finding(
            "device-missing",
            f"{tag!r} has the state of {', '.join(missing[:FIRST])}, which was unplugged since: the "
            "load fails when the disks are reverted already (fact 151)",
            "device_add it as it was before the load",
        )
    elif later:
        yield at.finding(
            "device-not-saved",
            f"{', '.join(later[:FIRST])} was plugged after {tag!r} was saved: the load succeeds, and "
            "the guest goes on with a device that its memory does not know (fact 151)",
            "device_del it, and see DEVICE_DELETED, before the load",
        )


def run_failing(state: VmState, name: str, arguments: Mapping[str, object]) -> CommandResult:
    """Run a load that fails where it reads the machine state."""
    result = start(state, name, arguments)
    state, reply, events = result.state, result.reply, result.events
    while state.pending:
        failure = InjectedFailure() if state.pending[0].op == _READS else None
        done = advance(state, failure)
        state, events = done.state, events + done.events
        reply = done.reply if reply is None else reply
    return evolve(result, state=state, reply=reply, events=events)


RULES: tuple[Rule, ...] = (_plugged, _loaded)
