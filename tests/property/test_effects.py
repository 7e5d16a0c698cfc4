"""What the proof says that a command does is what it does in the semantics, which real QEMU judges.

`planner.verify.effects` reads a command; `planner.semantics` does it, held against QEMU by
`tests/model/test_lockstep.py`.  They share nothing.  Here a VM of the semantics is watched while a
command is done to it, small step by small step, and what is seen in its images and of its guest has to
be what the proof derives from the command alone.
"""

from collections import Counter
from itertools import pairwise

import pytest
from attrs import evolve, frozen
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.compile.plan import compile_request
from planner.errors import Refused
from planner.model.operations import CAPTURES, Kind, Operation
from planner.model.request import (
    Capture,
    ExistingTag,
    External,
    ExternalMachineState,
    Internal,
    InternalMachineState,
    NoMachineState,
    Request,
    RunStateAfter,
)
from planner.model.request_text import ReadRequest
from planner.program.program import Step, Target, WaitsFor
from planner.run.observation import bind
from planner.semantics import (
    InjectedFailure,
    advance,
    advance_background,
    content_node,
    next_in_background,
    start,
    state_from_facts,
    waits_for_continue,
)
from planner.verify.effects import Names, VmBefore, effect_of
from tests.property.topologies import TAG, disks
from tests.unit.build import facts as some_facts
from tests.unit.build import two_disks

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
STRUCK = InjectedFailure("Input/output error")


# --- what is seen of a VM -----------------------------------------------------------------------


@frozen
class Vm:
    """A VM of the semantics, and whose disk each node and each file is."""

    state: object
    facts: object
    nodes: dict
    files: dict

    @classmethod
    def of(cls, facts, request):
        state = state_from_facts(facts)
        return cls(state, facts, _image_nodes(state, facts), _new_files(facts, request))

    def at(self, state):
        return evolve(self, state=state)

    @property
    def live_nodes(self):
        """By reference (``@disk``), the node that it means on this VM."""
        return {disk.node: self.nodes[disk.name] for disk in self.facts.disks}


def _image_nodes(state, facts):
    """By disk, the node with its image: that of a device made by ``-drive`` has a made-up name."""
    found = {}
    for disk in facts.disks:
        device = next((each for each in state.devices if each.name == disk.drive_id != ""), None)
        found[disk.name] = (
            disk.node
            if device is None
            else content_node(state.graph, state.graph.node(device.node)).name
        )
    return found


def _new_files(facts, request):
    disks = {name: disk.name for disk in facts.disks for name in disk.names}
    return {w.path: disks[name] for name, w in request.disks if hasattr(w, "path")}


def seen(vm, before, after):
    """What has happened between two states, as operations, in the order of one small step."""
    found = []
    if before.running and not after.running:
        found.append(Operation(Kind.PAUSE_GUEST))
    disk_of = {node: disk for disk, node in vm.nodes.items()}
    for node in after.graph.nodes:
        found += _seen_of_node(vm, before.graph.get(node.name), node, disk_of.get(node.name, ""))
    found += _seen_of_devices(before, after, disk_of)
    found += _seen_of_stream(before, after)
    if after.running and not before.running:
        found.append(Operation(Kind.RESUME_GUEST))
    return found


def _seen_of_node(vm, was, node, disk):
    if was is None:
        if node.driver == "qcow2":
            yield Operation(Kind.ADD_OVERLAY, disk=vm.files.get(node.filename, "?"))
        return
    old, new = was.layer, node.layer
    ids = [{s.id for s in layer.snapshots} for layer in (old, new)]
    if new.vmstate and not old.vmstate:
        yield Operation(Kind.WRITE_VMSTATE, disk=disk)
    for _ in ids[1] - ids[0]:
        yield Operation(Kind.SNAPSHOT_DISK, disk=disk)
    for gone in ids[0] - ids[1]:
        yield Operation(Kind.DELETE_DISK_SNAPSHOT, disk=disk, detail=gone)
    if old.vmstate and not new.vmstate:
        yield Operation(Kind.DISCARD_VMSTATE, disk=disk)


def _seen_of_devices(before, after, disk_of):
    for was, now in zip(before.devices, after.devices, strict=True):
        images = [
            content_node(each.graph, each.graph.node(device.node))
            for each, device in ((before, was), (after, now))
        ]
        if images[0].name != images[1].name:
            yield Operation(Kind.SWITCH_TO_OVERLAY, disk=disk_of.get(images[0].name, "?"))


def _seen_of_stream(before, after):
    was, now = before.migration, after.migration
    ended = now.status == "completed" and was.status != "completed"
    if now.background:
        if now.tracking and not was.tracking:
            yield Operation(Kind.BEGIN_STREAM_VMSTATE, detail=Capture.BACKGROUND)
        if ended:
            yield Operation(Kind.END_STREAM_VMSTATE, detail=Capture.BACKGROUND)
        return
    # A live one is that in which the guest runs while its memory is written.
    capture = Capture.LIVE if now.was_running else Capture.STOPPED
    if now.under_way and not was.under_way:
        yield Operation(Kind.BEGIN_STREAM_VMSTATE, detail=capture)
    if ended:
        yield Operation(Kind.END_STREAM_VMSTATE, detail=capture)


# --- a command is done ----------------------------------------------------------------------------


@frozen
class Done:
    """What came of a command.

    Attributes:
        state: The VM afterwards.
        operations: What was seen to happen, in order.
        failed: Whether QEMU refused it, or its job or stream failed.
    """

    state: object
    operations: tuple = ()
    failed: bool = False


def do(vm, execute, arguments, waits_for=WaitsFor.REPLY, strike_at=None):
    """Do a command until what it waits for is there; `strike_at`: the small step that fails."""
    begun = start(vm.state, execute, arguments)
    states, failed, number = [vm.state, begun.state], begun.error is not None, 0
    while (move := _next_move(states[-1], waits_for)) is not None:
        done = move(states[-1], STRUCK if number == strike_at else None)
        failed = failed or done.error is not None
        states.append(done.state)
        number += 1
    now = states[-1]
    failed = failed or any(job.error for job in now.jobs) or now.migration.status == "failed"
    pairs = pairwise(states)
    happened = [operation for pair in pairs for operation in seen(vm, *pair)]
    jobs = tuple(job for job in now.jobs if job.status != "concluded")  # a client dismisses them
    return Done(evolve(now, jobs=jobs), tuple(happened), failed)


def _next_move(state, waits_for):
    if state.pending:
        return advance
    there = {
        WaitsFor.SWITCHOVER: waits_for_continue(state),
        WaitsFor.TRACKING: state.migration.tracking,
        WaitsFor.MIGRATED: False,
    }.get(waits_for, True)
    return None if there or not next_in_background(state) else advance_background


def before(state):
    """The VM as the proof is told of it, taken from the VM itself."""
    migration, streaming = state.migration, ""
    if migration.background and (migration.under_way or state.background):
        streaming = Capture.BACKGROUND
    elif migration.under_way:
        streaming = Capture.LIVE
    return VmBefore(state.running, state.capabilities, streaming, migration.tracking)


def said(effect, moment):
    """What the proof says; to stop a guest that stands, or let one run that runs, is to do nothing."""
    nothing = Kind.RESUME_GUEST if moment.running else Kind.PAUSE_GUEST
    alone = len(effect.operations) == 1
    return tuple(o for o in effect.operations if not (alone and o.kind is nothing))


def same(effect, moment, operations):
    """Whether they are the same; in one order where QEMU is said to promise it.

    QEMU discards the machine state together with the snapshot of the disk that holds it, and the proof
    says it after all snapshots: no rule orders it against those of other disks.
    """
    told, found = said(effect, moment), tuple(operations)
    if not effect.ordered:
        return Counter(told) == Counter(found)
    return all(
        _without(told, other) == _without(found, other)
        for other in [*{op.disk for op in told if op.kind is not Kind.DISCARD_VMSTATE}, None]
    )


def _without(operations, disk):
    """What happens to one disk and to the guest; None: to all of them, but no discard."""
    if disk is None:
        return [op for op in operations if op.kind is not Kind.DISCARD_VMSTATE]
    return [op for op in operations if op.disk in ("", disk)]


# --- programs -------------------------------------------------------------------------------------


class Case:
    """A VM with a request; told in few words, since facts hold QEMU's whole schema."""

    def __init__(self, facts, request):
        self.facts, self.request = facts, request

    def __iter__(self):
        return iter((self.facts, self.request))

    def __repr__(self):
        return f"Case({evolve(self.facts, schema=(), capabilities={})}, {self.request})"


INTERNAL, REPLACING = "internal", "replacing"
KINDS = ("qcow2", "filtered", "backed", "drive")


@st.composite
def programs(draw):
    """VMs with a request, each kind of machine state as often, some of which replace a snapshot."""
    memory = draw(st.sampled_from([INTERNAL, REPLACING, "none", *Capture]))
    tags = ((), (TAG,), ("old", TAG)) if memory == REPLACING else ((), ("old",))
    vm_disks = draw(disks(KINDS, tags=tags, most=4))
    version = draw(
        st.sampled_from(["10.0", "11.1", *(["7.2"] if memory != Capture.BACKGROUND else [])])
    )
    running = memory == Capture.LIVE or draw(st.booleans())
    facts = some_facts(*vm_disks, version=version, run_state="running" if running else "paused")
    inside = memory in (INTERNAL, REPLACING)
    wishes = tuple(
        (disk.name, draw(st.sampled_from(_wishes(disk, over=memory != REPLACING))))
        for disk in vm_disks
    )
    holders = [name for name, wish in wishes if isinstance(wish, Internal)]
    state = NoMachineState()
    if inside and holders:
        state = InternalMachineState(draw(st.sampled_from(holders)))
    elif not inside and memory != "none":
        state = ExternalMachineState("/vm/state", memory)
    old = ExistingTag.REPLACE if memory == REPLACING else ExistingTag.REFUSE
    ends = (
        RunStateAfter.RUNNING
        if memory in (Capture.STOPPED, Capture.LIVE)
        else RunStateAfter.AS_BEFORE
    )
    return Case(facts, Request(TAG, state, wishes, existing_tag=old, run_state_after=ends))


def _wishes(disk, *, over):
    return [Internal(), Internal(), *([External(f"/vm/{disk.name}.overlay")] if over else [])]


def compiled(facts, request):
    try:
        return compile_request(ReadRequest(request), facts, "auto").program
    except Refused:
        assume(False)


def qmp_steps(program):
    return [step for step in program.steps if step.target is Target.QMP]


@settings(QUICK, max_examples=100)
@given(programs())
def test_every_step_of_a_program_does_what_the_proof_says(case):
    """One after the other, on a VM that is as the steps before have left it."""
    facts, request = case
    program = compiled(facts, request)
    vm, names = Vm.of(facts, request), Names.of(program.resolution)
    for step in qmp_steps(program):
        moment = before(vm.state)
        effect = effect_of(step, program.resolution, names, moment)
        done = do(vm, step.execute, bind(step.arguments, vm.live_nodes), step.waits_for)
        assert not effect.problems
        assert not done.failed
        assert same(effect, moment, done.operations), (step.execute, effect, done.operations)
        vm = vm.at(done.state)


@QUICK
@given(programs(), st.integers(0, 30))
def test_what_is_said_to_be_atomic_does_all_or_nothing(case, strike_at):
    """A command that fails part way leaves nothing of itself where the proof calls it atomic."""
    facts, request = case
    program = compiled(facts, request)
    vm, names = Vm.of(facts, request), Names.of(program.resolution)
    for step in qmp_steps(program):
        effect = effect_of(step, program.resolution, names, before(vm.state))
        arguments = bind(step.arguments, vm.live_nodes)
        struck = do(vm, step.execute, arguments, step.waits_for, strike_at)
        left = [op for op in seen(vm, vm.state, struck.state) if op.kind in CAPTURES]
        if struck.failed and effect.atomic:
            assert left == []
        vm = vm.at(do(vm, step.execute, arguments, step.waits_for).state)


def test_a_save_is_not_said_to_be_atomic_and_is_not():
    """The second disk's snapshot fails, and the first disk keeps its own."""
    facts, request = _two_disks()
    program = compiled(facts, request)
    vm = Vm.of(facts, request)
    (step,) = qmp_steps(program)
    effect = effect_of(step, program.resolution, Names.of(program.resolution), before(vm.state))
    left = set()
    for strike_at in range(12):
        done = do(vm, step.execute, bind(step.arguments, vm.live_nodes), step.waits_for, strike_at)
        kinds = {op.kind for op in seen(vm, vm.state, done.state)}
        left.add(done.failed and Kind.SNAPSHOT_DISK in kinds)
    assert not effect.atomic
    assert left == {True, False}


def _two_disks():
    wishes = (("disk0", Internal()), ("disk1", Internal()))
    return two_disks(), Request(TAG, InternalMachineState("disk0"), wishes)


# --- commands that nobody would write -------------------------------------------------------------


@st.composite
def odd_steps(draw, facts, program):
    """A command of those that programs use, with arguments that may be right or wrong."""
    resolution = program.resolution
    nodes = [part.node for part in resolution.internal] + ["no-such-node"]
    roots = [part.root for part in resolution.internal] + ["no-such-device"]
    overlays = list(resolution.overlays)
    tag = draw(st.sampled_from([resolution.tag, resolution.tag, "another"]))
    execute = draw(st.sampled_from(ODD))
    if execute == "snapshot-save":
        devices = draw(st.lists(st.sampled_from(nodes), min_size=1, max_size=3))
        job = draw(st.sampled_from(["job0", "job0", "job0", "0job"]))
        vmstate = draw(st.sampled_from([devices[0], devices[-1], nodes[0]]))
        return execute, {"job-id": job, "tag": tag, "vmstate": vmstate, "devices": devices}
    if execute == "transaction":
        inside = [
            {"type": "blockdev-snapshot-internal-sync", "data": {"device": root, "name": tag}}
            for root in draw(st.lists(st.sampled_from(roots), max_size=3))
        ]
        over = [
            {"type": "blockdev-snapshot", "data": {"node": o.node, "overlay": o.overlay}}
            for o in overlays
        ]
        return execute, {"actions": draw(st.permutations(inside + over))}
    if execute == "blockdev-snapshot-delete-internal-sync":
        held = [s for disk in facts.disks for s in disk.snapshots]
        name = draw(st.sampled_from([resolution.tag, *(s.name for s in held)]))
        ident = draw(st.sampled_from(["1", "2", "7"]))
        return execute, {"device": draw(st.sampled_from(roots)), "id": ident, "name": name}
    if execute == "migrate-continue":
        return execute, {"state": draw(st.sampled_from(["pre-switchover", "device"]))}
    return execute, {}


ODD = (
    "stop", "cont", "snapshot-save", "snapshot-save", "transaction", "migrate-continue",
    "blockdev-snapshot-delete-internal-sync",
)  # fmt: skip
QEMU_REFUSES = {"job-id-malformed", "vmstate-not-in-devices", "nodes-active"}
"""Problems of a command that are QEMU's as well; the others say that it is not what was asked for."""


def refused_by_what_is_there(vm, execute, arguments):
    """Whether QEMU refuses a command for what the VM holds, which the command alone does not tell."""
    if execute == "snapshot-save":
        taken = any(arguments["tag"] in names_in(vm, node) for node in arguments["devices"])
        return taken or bool(vm.state.capabilities)  # a save is a migration, too (fact 64)
    if execute == "transaction":
        inside = [each["data"] for each in arguments["actions"] if "device" in each["data"]]
        roots = [data["device"] for data in inside]
        taken = any(data["name"] in names_in(vm, node_of(vm, data["device"])) for data in inside)
        added = {node.name for node in vm.state.graph.nodes}
        over = [
            each["data"]["overlay"] for each in arguments["actions"] if "overlay" in each["data"]
        ]
        ready = all(name in added and not has_parents(vm, name) for name in over)
        return taken or len(set(roots)) != len(roots) or not ready
    return execute == "blockdev-snapshot-delete-internal-sync"


def node_of(vm, root):
    return next(disk.node for disk in vm.facts.disks if disk.root == root)


def names_in(vm, node):
    """What the snapshots in an image are called, by id too: QEMU takes either (fact 9)."""
    held = vm.state.graph.node(vm.live_nodes[node]).layer.snapshots
    return {name for snapshot in held for name in (snapshot.name, snapshot.id)}


def has_parents(vm, name):
    on_a_device = any(device.node == name for device in vm.state.devices)
    return on_a_device or bool(vm.state.graph.parents.get(name))


@settings(QUICK, max_examples=200)
@given(programs(), st.data())
def test_odd_commands_do_what_the_proof_says_or_nothing_whole(case, data):
    """At any place of a program: what is done is what is said, and what is said to fail fails."""
    facts, request = case
    program = compiled(facts, request)
    vm, names = Vm.of(facts, request), Names.of(program.resolution)
    steps = qmp_steps(program)
    for step in steps[: data.draw(st.integers(0, len(steps)))]:
        vm = vm.at(do(vm, step.execute, bind(step.arguments, vm.live_nodes), step.waits_for).state)
    assume(vm.state.run_state in ("running", "paused"))
    execute, arguments = data.draw(odd_steps(facts, program))
    moment = before(vm.state)
    effect = effect_of(Step(execute, arguments, ()), program.resolution, names, moment)
    waits_for = WaitsFor.MIGRATED if execute == "migrate-continue" else WaitsFor.REPLY
    done = do(vm, execute, bind(arguments, vm.live_nodes), waits_for)
    codes = {problem.code for problem in effect.problems}
    if codes & QEMU_REFUSES:
        assert done.failed
        assert not {op.kind for op in done.operations} & CAPTURES
    elif done.failed:
        assert codes or refused_by_what_is_there(vm, execute, arguments)
    else:
        # A disk that is named twice is snapshotted twice, in what order nobody need know: it is wrong.
        named_twice = evolve(effect, ordered=effect.ordered and not codes)
        assert same(named_twice, moment, done.operations), (execute, effect, done.operations)


REFUSED = {
    "vmstate-not-in-devices": ("snapshot-save", {"vmstate": "disk1", "devices": ["disk0"]}),
    "job-id-malformed": ("snapshot-save", {"job-id": "0job"}),
    "nodes-active": ("migrate-continue", {"state": "pre-switchover"}),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_the_proof_says_that_qemu_refuses_fails(code):
    """Nothing of it is done, and the proof names it."""
    facts, request = _two_disks()
    program = compiled(facts, request)
    vm, (execute, changed) = Vm.of(facts, request), REFUSED[code]
    (save,) = qmp_steps(program)
    arguments = {**(save.arguments if execute == save.execute else {}), **changed}
    step = Step(execute, arguments, ())
    effect = effect_of(step, program.resolution, Names.of(program.resolution), before(vm.state))
    done = do(vm, execute, arguments)
    assert {problem.code for problem in effect.problems} == {code}
    assert done.failed
    assert not done.operations
