"""What must hold at the end of every run, each with an id, and how a violation is told.

An end is one of: done (the client says that the snapshot is there), undone (it says that nothing is),
incomplete (it says what is left), abandoned (the client is dead and says nothing).  Properties of the
snapshot are asked of the first kind, those of undo of the others; an abandoned run may have left the
whole snapshot, or nothing.  What an end honestly reports as left is no violation: it is counted apart.

Rules: a property is a function from an end to the reason why it does not hold, or to nothing.  It
sees the whole VM, not only what QMP shows.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from planner.explore.end import End
from planner.explore.layers import TAG, is_own, own_parts
from planner.explore.standing import monitor_answers, pause_within
from planner.explore.state import KILLED, Setting, StreamPlace
from planner.explore.vm_moves import bits
from planner.semantics import qcow2

__all__ = [
    "PROPERTY_IDS",
    "Property",
    "noticed",
    "properties_asked",
]


def _one_instant(end: End) -> str:
    parts = end.parts()
    contents = [(disk, part.content) for disk, part in parts]
    contents += [(disk, base.content) for disk, base in end.bases.items()]
    contents += end.copied().items()
    if not end.done or not contents:
        return ""
    saved = [p.vmstate.machine for _, p in parts if p.vmstate is not None and p.vmstate.machine > 0]
    machine = saved[0] if saved else end.streamed
    if end.one_instant(machine, contents):
        return ""
    instants = ", ".join(f"{end.name(disk)} of instant {content}" for disk, content in contents)
    of_machine = f"machine state of instant {machine}, " if machine is not None else ""
    return f"the parts belong to different instants: {of_machine}{instants}"


def _complete(end: End) -> str:
    unstruck = end.state.budget == end.setting.faults
    if not end.done:
        return "nothing went wrong outside, and the run failed all the same" if unstruck else ""
    wrong = [disk for disk in end.internal() if len(own_parts(end.images[disk])) != 1]
    wrong += [disk for disk in end.external() if disk not in end.bases]
    if wrong:
        return f"not exactly one part on {end.names(wrong)}"
    torn = end.setting.copies & ~end.state.copy.whole
    if torn:
        return f"the copy of {end.names(bits(torn))} is not complete"
    if end.setting.capture and end.streamed is None:
        return "the stream of machine state is not complete"
    for disk, snapshot_id in end.setting.replaced:
        if any(s.id == snapshot_id and not is_own(s) for s in end.images[disk].snapshots):
            return f"snapshot {snapshot_id} of {end.name(disk)} was to be replaced, and is there"
    return ""


def _no_vmstate_left(end: End) -> str:
    # The machine state's own image is no disk: its active layer is nobody's, and goes with it.
    guests = enumerate(end.images[: len(end.setting.of_guest)])
    left = [disk for disk, image in guests if image.vmstate is not None]
    if not left:
        return ""
    return (
        f"the active layer of {end.names(left)} still holds vmstate (or a piece of it): it costs "
        "space, and a disk-only snapshot would take it along"
    )


def _holds_machine_state(end: End) -> str:
    if not end.done:
        return ""
    if end.setting.capture and end.streamed is None:
        return "the stream is not complete, so the snapshot holds no machine state"
    wanted = [end.setting.vmstate] if end.setting.vmstate >= 0 else []
    whole = [d for d, p in end.parts() if p.vmstate is not None and p.vmstate.machine > 0]
    broken = [d for d, p in end.parts() if p.vmstate is not None and p.vmstate.machine <= 0]
    if whole == wanted and not broken:
        return ""
    if not whole and wanted:
        return (
            f"the snapshot on {end.names(wanted)} holds no machine state: loading it says "
            '"This is a disk-only snapshot" (fact 21), or reads clusters that are gone'
        )
    return f"machine state is held by {end.names(whole + broken) or 'no disk'}"


def _atomic(end: End) -> str:
    if end.done or end.done_alone:
        return ""
    left = [disk for disk, _ in end.parts() if not end.left(disk)]
    if left:
        return f"{_said(end)} its part is still on {end.names(left)}"
    return _outside_left(end)


def _said(end: End) -> str:
    if end.abandoned:
        return "the client is dead, what it began is done in part, and"
    return "the run says that it was undone, and"


def _outside_left(end: End) -> str:
    outside = end.state.outside
    said = _said(end)
    over = [d for d in end.external() if outside.added >> d & 1 and not end.left(d)]
    if over:
        return f"{said} its overlay is still there for {end.names(over)}"
    copy = end.state.copy
    if copied := (copy.jobs | copy.targets) & ~end.state.left:
        return f"{said} its copy of {end.names(bits(copied))} is still under way, or its node there"
    own = end.setting.own
    if own >= 0 and outside.added >> own & 1 and not end.left(own):
        return f"{said} the node of its machine state is still there"
    files = outside.files & ~end.state.left
    if own >= 0 and files >> own & 1:
        return f"{said} the image of its machine state is still there"
    if files:
        of = "the stream" if files >> end.setting.stream_file else "an overlay"
        of = "a copy" if files & end.setting.copies else of
        return f"{said} a file of {of} is still there"
    if StreamPlace(outside.stream).under_way and not end.state.dead:
        return f"{said} its stream is still under way"
    return ""


def _run_state_restored(end: End) -> str:
    state, setting = end.state, end.setting
    if state.dead or state.left_paused:
        return ""
    if state.outside.inactive:
        return "the guest is left stopped, and its nodes are inactive (fact 29)"
    wanted = setting.runs_after if end.done or end.done_alone else setting.runs_before
    if state.running is wanted:
        return ""
    return "the guest runs and should not" if state.running else "the guest is left paused"


def _settings_restored(end: End) -> str:
    if not end.state.outside.changed or end.state.dead or end.left(end.setting.settings_left):
        return ""
    return "the VM's migration settings are not as they were"


def _pause_short(end: End) -> str:
    if not end.state.outside.slow:
        return ""
    made = "an overlay or a copy's file was made, or a background stream or a copy waited for"
    return f"{made}, while the guest stood still"


def _guest_spared(end: End) -> str:
    if not end.state.copy.spoilt:
        return ""
    return "a write of the guest failed, since the copy of what it overwrote could not be written"


def _frozen_capture(end: End) -> str:
    if not end.done or not end.state.unfrozen:
        return ""
    return "a disk was captured while the guest's file systems were not frozen"


def _thawed(end: End) -> str:
    if not end.state.frozen or end.state.dead or end.left(end.setting.thaw_left):
        return ""
    return "the guest's file systems are left frozen: every program that writes waits for ever"


def _qemu_lives(end: End) -> str:
    if end.state.dead != KILLED:
        return ""
    return "QEMU aborts at what snapplan sends to an inactive node (fact 35)"


def _written_last(end: End, disk: int) -> int:
    """The instant at which the guest last wrote to a disk."""
    versions = range(end.state.version, 0, -1)
    return next((v for v in versions if (disk, v) not in end.state.skipped), 0)


def _old_intact(end: End) -> str:
    for disk, image in enumerate(end.images):
        if image.content != _written_last(end, disk):
            return f"what the guest wrote to {end.name(disk)} is lost"
    return _snapshots_intact(end)


def _snapshots_intact(end: End) -> str:
    for disk, before in enumerate(end.setting.images):
        now = end.bases.get(disk, end.images[disk])
        given_up = {(d, i) for d, i in end.setting.replaced}
        for snapshot in before.snapshots:
            if (disk, snapshot.id) not in given_up and snapshot not in now.snapshots:
                return f"snapshot {snapshot.id} of {end.name(disk)}, there before, is gone"
        held = (*now.snapshots, *end.images[disk].snapshots)
        if end.state.foreign >> disk & 1 and not any(s.date_ns % 2 for s in held):
            return f"the snapshot that another client made on {end.name(disk)} is gone"
    return ""


def _loadable(end: End) -> str:
    if not end.done:
        return ""
    loaded = {d: qcow2.goto_snapshot(end.images[d], TAG) for d in end.internal()}
    loaded |= {disk: end.bases.get(disk) for disk in end.external()}
    missing = [disk for disk, layer in loaded.items() if layer is None]
    if missing:
        return f"a load finds no snapshot on {end.names(missing)}"
    contents = [(d, layer.content) for d, layer in loaded.items() if layer is not None]
    copied = end.copied()
    if end.setting.copies and len(copied) != end.setting.copies.bit_count():
        return "a load finds a copy that is not complete"
    contents += copied.items()
    machine = end.streamed
    if end.setting.capture and machine is None:
        return "a load finds no complete stream of machine state"
    if end.setting.vmstate >= 0:
        layer = loaded[end.setting.vmstate]
        found = layer.vmstate if layer is not None else None
        if found is None or found.machine <= 0:
            return f"a load finds no machine state on {end.name(end.setting.vmstate)}"
        machine = found.machine
    if end.one_instant(machine, contents):
        return ""
    return "a load puts together what was never there at one instant"


@frozen
class Property:
    """A property.

    Attributes:
        id: Stable identifier.
        means: What holds, in a clause.
        broken: From an end to why it does not hold there; empty where it does.
    """

    id: str
    means: str
    broken: Callable[[End], str]


_ALWAYS: tuple[Property, ...] = (
    Property("one-instant", "all parts are of one instant", _one_instant),
    Property("complete", "every part is there, once; an unstruck run succeeds", _complete),
    Property(
        "no-vmstate-left", "no active layer keeps vmstate, whatever happened", _no_vmstate_left
    ),
    Property(
        "holds-machine-state",
        "the snapshot holds its machine state, where it should and nowhere else",
        _holds_machine_state,
    ),
    Property("atomic", "a run that is not done leaves no part, or says which", _atomic),
    Property(
        "run-state-restored", "the guest runs, or not, as it should afterwards", _run_state_restored
    ),
    Property(
        "old-intact",
        "what existed before is still there and loads as before, what the guest wrote included",
        _old_intact,
    ),
    Property("settings-restored", "the VM's migration settings are as before", _settings_restored),
    Property(
        "pause-short",
        "nothing is made, and no background stream or copy waited for, while the guest stands still",
        _pause_short,
    ),
    Property(
        "guest-spared", "no write of the guest fails because its disk is copied", _guest_spared
    ),
    Property(
        "frozen-capture",
        "where the file systems are frozen, every disk is captured while they are",
        _frozen_capture,
    ),
    Property("thawed", "no file system is left frozen", _thawed),
    Property("qemu-lives", "QEMU does not abort at what is sent", _qemu_lives),
    Property("loadable", "a load of the result reproduces the saved instant", _loadable),
)

_IF_ASKED: tuple[Property, ...] = (
    Property(
        "pause-within",
        "no more of the memory is written while the guest stands still than was asked for",
        pause_within,
    ),
    Property(
        "monitor-answers", "QEMU's monitor answers while machine state is written", monitor_answers
    ),
)

PROPERTY_IDS = tuple(found.id for found in (*_ALWAYS, *_IF_ASKED))


def properties_asked(setting: Setting) -> tuple[Property, ...]:
    """What is asked of a design: what always is, and the limits that somebody wants."""
    asked = setting.limits.asked
    return (*_ALWAYS, *(found for found in _IF_ASKED if found.id in asked))


def noticed(end: End) -> str:
    """What snapplan's own last look would say of a snapshot that a run calls done; empty: nothing.

    The look is that of `planner.save.confirm`: what QEMU's lists show, and no more.
    """
    if not end.done:
        return ""
    fresh = [
        [s for s in end.images[disk].snapshots if s.name == TAG and s.date_ns > 0]
        for disk in end.internal()
    ]
    if any(len(found) != 1 for found in fresh):
        return "part-count"
    saved = end.setting.vmstate >= 0 or bool(end.setting.capture)
    stopped = saved or not end.setting.runs_before
    if stopped and len({found[0].vm_clock_ns for found in fresh}) > 1:
        return "parts-differ"
    for disk, found in zip(end.internal(), fresh, strict=True):
        if (found[0].vm_state_size_bytes > 0) != (disk == end.setting.vmstate):
            return "vmstate-misplaced"
    if end.state.running is not end.setting.runs_after:
        return "run-state-unexpected"
    return ""
