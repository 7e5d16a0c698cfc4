"""The verifier finds each thing that can be wrong with a program of external parts, by its rule."""

import pytest
from attrs import evolve

from planner.model.operations import Kind
from planner.program.program import WaitsFor
from planner.verify.proof import violations
from tests.unit.build import facts, plan, qcow2, raw, streamed, with_steps

VM = facts(qcow2("disk0"), qcow2("disk1"), raw("vars0"), version="10.0")
OLD_VM = evolve(facts(qcow2("disk0"), version="7.2"))
PROGRAMS = {
    capture: plan("auto", VM, streamed(capture, "disk0", "disk1", overlays=["vars0"])).program
    for capture in ("stopped", "live", "background")
}
DESCRIPTOR = plan("auto", OLD_VM, streamed("stopped", "disk0")).program


def at(program, execute, nth=1):
    """The n-th step that says this."""
    return [step for step in program.steps if step.execute == execute][nth - 1]


def without(capture, *steps):
    program = PROGRAMS[capture]
    gone = [at(program, execute, nth) for execute, nth in steps]
    return with_steps(program, *(step for step in program.steps if step not in gone))


def moved(capture, what, *, behind=None, before=None, nth=1, other=1):
    """The program with one step directly behind or before another."""
    program = PROGRAMS[capture]
    step = at(program, what, nth)
    rest = [found for found in program.steps if found is not step]
    place = rest.index(at(with_steps(program, *rest), behind or before, other))
    place += 1 if behind else 0
    return with_steps(program, *rest[:place], step, *rest[place:])


def changed(capture, execute, nth=1, **more):
    program = PROGRAMS[capture]
    old = at(program, execute, nth)
    return with_steps(program, *(evolve(s, **more) if s is old else s for s in program.steps))


def arguments(capture, execute, nth=1, **more):
    old = at(PROGRAMS[capture], execute, nth)
    return changed(capture, execute, nth, arguments={**old.arguments, **more})


OVERLAY = at(PROGRAMS["stopped"], "blockdev-add")
LIVE_SETTINGS = at(PROGRAMS["live"], "migrate-set-capabilities")
ACTIONS = at(PROGRAMS["stopped"], "transaction").arguments["actions"]

CASES = {
    # Order
    "the stream before the disks": (
        moved("stopped", "migrate", before="transaction"), {"nodes-active"},
    ),
    "the stream of a running guest": (
        moved("stopped", "migrate", before="stop"), {"one-instant", "nodes-active"},
    ),
    "a guest resumed before write tracking is seen": (
        moved("background", "cont", before="query-migrate"),
        {"tracking-before-resume", "one-instant"},
    ),
    "a background stream begun while the guest runs": (
        moved("background", "migrate", before="stop"), {"one-instant"},
    ),
    "a background stream awaited in the pause": (
        moved("background", "cont", behind="query-migrate", other=2), {"stream-after-resume"},
    ),
    "a live stream ended before the disks": (
        moved("live", "transaction", behind="migrate-continue"), {"nodes-active"},
    ),
    "a live stream's guest resumed before its end": (
        moved("live", "cont", before="migrate-continue"), {"one-instant", "active-before-undo"},
    ),
    "disks captured before a live stream has stopped the guest": (
        moved("live", "transaction", before="migrate"), {"one-instant"},
    ),
    "an overlay added in the pause": (
        moved("stopped", "blockdev-add", behind="stop"), {"overlay-ready"},
    ),
    "an overlay added before its image is made": (
        moved("stopped", "blockdev-add", before="create-overlay"), {"overlay-ready"},
    ),
    "a file named before its stream is complete": (
        moved("stopped", "keep-stream", before="migrate"), {"complete"},
    ),
    "settings made after the stream began": (
        moved("live", "migrate-set-capabilities", behind="migrate"),
        {"complete", "covers-truth", "nodes-active", "one-instant", "outcome-seen"},
    ),
    # Something is missing
    "no stream": (without("stopped", ("migrate", 1)), {"complete"}),
    "no wait for write tracking": (
        without("background", ("query-migrate", 1)),
        {"tracking-before-resume", "covers-truth", "complete", "outcome-seen", "one-instant"},
    ),
    "no wait for the end of a background stream": (
        without("background", ("query-migrate", 2)), {"complete"},
    ),
    "no end of a live stream": (
        without("live", ("migrate-continue", 1)), {"complete", "one-instant"},
    ),
    "no cont after a stream": (
        without("stopped", ("cont", 1)), {"active-before-undo", "run-state-restored"},
    ),
    "no overlay": (without("stopped", ("blockdev-add", 1)), {"overlay-ready"}),
    "no image for the overlay": (without("stopped", ("create-overlay", 1)), {"overlay-ready"}),
    "no file for the stream": (without("stopped", ("create-stream", 1)), {"complete"}),
    "a stream that never gets its name": (without("stopped", ("keep-stream", 1)), {"complete"}),
    "settings never put back": (
        without("live", ("migrate-set-capabilities", 2)), {"settings-restored"},
    ),
    "a limit never put back": (
        without("live", ("migrate-set-parameters", 2)), {"settings-restored"},
    ),
    "settings never made": (
        without("background", ("migrate-set-capabilities", 1), ("migrate-set-capabilities", 2)),
        {"complete", "covers-truth", "outcome-seen", "nodes-active"},
    ),
    # Wrong arguments
    "a stream to another file": (
        arguments("stopped", "migrate", uri="file:/etc/passwd"), {"nothing-else"},
    ),
    "a stream to a shell": (
        arguments("stopped", "migrate", uri="exec:cat > /new/state"), {"nothing-else"},
    ),
    "a descriptor that QEMU was not given": (
        with_steps(DESCRIPTOR, *(s for s in DESCRIPTOR.steps if s.execute != "getfd")), {"complete"},
    ),
    "a set that QEMU was not given": (without("stopped", ("add-fd", 1)), {"complete"}),
    "a set that QEMU keeps": (without("stopped", ("remove-fd", 1)), {"settings-restored"}),
    "somebody else's set": (
        arguments("stopped", "add-fd", **{"fdset-id": 1}), {"nothing-else", "complete"},
    ),
    "a stream to somebody else's set": (
        arguments("stopped", "migrate", uri="file:/dev/fdset/1"), {"nothing-else"},
    ),
    "another file is named": (
        arguments("stopped", "keep-stream", path="/etc/passwd"), {"nothing-else", "complete"},
    ),
    "another image is made": (
        arguments("stopped", "create-overlay", base="/etc/passwd"),
        {"nothing-else", "overlay-ready"},
    ),
    "an overlay with a backing file of its own": (
        arguments("stopped", "blockdev-add", backing="vars0"), {"overlay-ready"},
    ),
    "an overlay over another image": (
        arguments("stopped", "blockdev-add", file={"driver": "file", "filename": "/etc/passwd"}),
        {"nothing-else"},
    ),
    "a node that is no overlay of ours": (
        arguments("stopped", "blockdev-add", **{"node-name": "other"}),
        {"nothing-else", "overlay-ready", "undo-complete"},
    ),
    "an overlay on another disk": (
        arguments("stopped", "transaction", actions=[
            *ACTIONS[:2], {**ACTIONS[2], "data": {**ACTIONS[2]["data"], "node": "disk1"}},
        ]),
        {"nothing-else"},
    ),
    "an overlay twice": (
        arguments("stopped", "transaction", actions=[*ACTIONS, ACTIONS[2]]),
        {"complete", "covers-truth"},
    ),
    "a setting that nobody can put back": (
        arguments("live", "migrate-set-capabilities", capabilities=[
            *LIVE_SETTINGS.arguments["capabilities"],
            {"capability": "multifd", "state": True},
        ]),
        {"settings-restored"},
    ),
    "the wrong state to continue from": (
        arguments("live", "migrate-continue", state="device"),
        {"nodes-active", "complete", "one-instant", "outcome-seen"},
    ),
    "an image flushed that is no part": (
        arguments("stopped", "flush-images", disks=["disk0", "other"]), {"nothing-else"},
    ),
    "another file flushed while streaming": (
        arguments("live", "flush-while-streaming", temporary="/etc/passwd"), {"nothing-else"},
    ),
    # What a step says of itself
    "no wait for the switch-over": (
        changed("live", "migrate", waits_for=WaitsFor.REPLY), {"outcome-seen"},
    ),
    "no wait for the end": (
        changed("stopped", "migrate", waits_for=WaitsFor.REPLY), {"outcome-seen"},
    ),
    "pages in the stream are not waited for": (
        changed("background", "query-migrate", waits_for=WaitsFor.REPLY), {"outcome-seen"},
    ),
    "no undo of the stream": (changed("stopped", "migrate", undo=()), {"undo-complete"}),
    "no undo of a background stream": (
        changed("background", "migrate", undo=()), {"undo-complete"},
    ),
    "no undo of the overlay": (changed("stopped", "blockdev-add", undo=()), {"undo-complete"}),
    "no undo of the image": (changed("stopped", "create-overlay", undo=()), {"undo-complete"}),
    "no undo of the file": (changed("stopped", "create-stream", undo=()), {"undo-complete"}),
    "no undo of the settings": (
        changed("live", "migrate-set-capabilities", undo=()), {"undo-complete"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("program", [*PROGRAMS.values(), DESCRIPTOR], ids=lambda p: p.design)
def test_a_right_program_is_proved(program):
    """The programs that the cases start from break nothing, and capture in their own way."""
    assert violations(program) == ()
    kinds = {op.kind for step in program.steps for op in step.covers}
    assert {Kind.BEGIN_STREAM_VMSTATE, Kind.END_STREAM_VMSTATE} <= kinds


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_is_found_by_its_rule(name):
    """One thing broken: just the rules that it breaks are named."""
    program, expected = CASES[name]
    found = violations(program)
    assert {problem.code for problem in found} == expected, "\n".join(map(str, found))
