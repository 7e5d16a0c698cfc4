"""Machine state in an image of its own: decided, proved, confirmed, told from any other."""

import pytest
from attrs import evolve

from planner.compile.designs import DESIGNS, choose_design
from planner.errors import Refused
from planner.inspect.draft import draft_of
from planner.load.way_back import keeping_plan
from planner.model.facts import SnapshotInfo
from planner.model.file_record import FileRecord
from planner.model.image import Image
from planner.model.operations import Kind
from planner.model.request import ExternalMachineState, ImageMachineState, InternalMachineState
from planner.model.request_text import read_request
from planner.parts.internal import InternalSnapshot
from planner.parts.make_vmstate_image import MakeVmstateImage
from planner.parts.making import KeptFile, NotShown, Shown
from planner.parts.manifest import Manifest
from planner.parts.part import Seen
from planner.parts.recorded_files import FoundFile
from planner.parts.vmstate_image import VmstateImage
from planner.program.program import Undo, UndoKind
from planner.verify.proof import violations
from tests.unit.build import facts, plan, qcow2, raw, request, with_steps

PATH = "/o/a.vmstate.qcow2"


DISKS_ASKED = {"disk0": "internal", "vars0": {"external": "/o/vars0"}}


def asked(**state):
    return request("a", state or {"image": PATH}, DISKS_ASKED)


VM = facts(qcow2("disk0"), raw("vars0"), version="11.1")
PROGRAM = plan("auto", VM, asked()).program
NODE = PROGRAM.resolution.vmstate_node.node


def at(execute, nth=1, program=PROGRAM):
    return [step for step in program.steps if step.execute == execute][nth - 1]


def without(*gone):
    return with_steps(PROGRAM, *(step for step in PROGRAM.steps if step not in gone))


def moved(step, *, before=None, behind=None):
    rest = [found for found in PROGRAM.steps if found is not step]
    place = rest.index(before or behind) + (1 if behind else 0)
    return with_steps(PROGRAM, *rest[:place], step, *rest[place:])


def changed(step, **more):
    return with_steps(
        PROGRAM, *(evolve(found, **more) if found is step else found for found in PROGRAM.steps)
    )


ADD, SAVE, DEL = at("blockdev-add"), at("snapshot-save"), at("blockdev-del")
MAKE, PASS, BACK, KEEP = (
    at(word) for word in ("create-vmstate-image", "add-fd", "remove-fd", "keep-stream")
)
STOP, CONT, DISKS = at("stop"), at("cont"), at("transaction")
OTHER = {**ADD.arguments, "file": {"driver": "file", "filename": "/etc/passwd"}}
CASES = {
    "the node is added in the pause": (moved(ADD, behind=STOP), {"overlay-ready"}),
    "the node is added before its image is passed": (moved(PASS, behind=ADD), {"overlay-ready"}),
    "the image is passed before it is made": (moved(MAKE, behind=PASS), {"complete"}),
    "the image is never made": (without(MAKE), {"complete"}),
    "the state is written before the node is there": (
        moved(SAVE, before=ADD), {"overlay-ready", "one-instant"},
    ),
    "the state is never written": (without(SAVE), {"complete"}),
    "the guest runs before the state is written": (moved(SAVE, behind=CONT), {"one-instant"}),
    "the guest runs before the disks are captured": (moved(DISKS, behind=CONT), {"one-instant"}),
    "QEMU keeps the node": (without(DEL), {"complete"}),
    "the node goes before its snapshot is there": (
        moved(DEL, before=SAVE), {"complete", "overlay-ready"},
    ),
    "QEMU keeps the descriptor": (without(BACK), {"settings-restored"}),
    "the descriptor goes first": (moved(BACK, before=DEL), {"complete"}),
    "the image never gets its name": (without(KEEP), {"complete"}),
    "the image gets its name while QEMU writes to it": (moved(KEEP, before=DEL), {"complete"}),
    "another file is opened": (changed(ADD, arguments=OTHER), {"nothing-else"}),
    "a node of somebody else's goes": (
        changed(DEL, arguments={"node-name": "disk0"}), {"nothing-else", "complete"},
    ),
    "nothing takes the node away": (changed(ADD, undo=()), {"undo-complete"}),
    "nothing takes the state away": (changed(SAVE, undo=()), {"undo-complete"}),
    "nothing removes the image": (changed(MAKE, undo=()), {"undo-complete"}),
    "the state's undo deletes by id": (
        changed(SAVE, undo=(Undo(UndoKind.DELETE_PART, NODE),)), {"undo-complete"},
    ),
    "a stream's file is made": (changed(MAKE, execute="create-stream"), {"nothing-else", "complete"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_is_found_by_its_rule(name):
    """And the program as it is has none."""
    program, rules = CASES[name]
    found = {problem.code for problem in violations(program)}
    assert rules <= found, found
    assert violations(PROGRAM) == ()


@pytest.mark.parametrize("state", ["running", "paused"])
def test_the_state_goes_first_and_the_disks_last(state):
    """Whether the guest has to be stopped or not; nothing slow is in the pause."""
    vm = evolve(VM, run_state=state)
    steps = [step.execute for step in plan("auto", vm, asked()).program.steps]
    pause = ["stop"] if state == "running" else []
    resume = ["cont"] if state == "running" else []
    overlay = {"create-overlay", "blockdev-add"}
    before = steps[: steps.index("snapshot-save") - len(pause)]
    assert [step for step in before if step not in overlay] == ["create-vmstate-image", "add-fd"]
    assert "blockdev-add" in before
    assert [step for step in steps[len(before) :] if step not in overlay] == [
        *pause, "snapshot-save", "transaction", *resume, "blockdev-del", "remove-fd", "keep-stream",
    ]  # fmt: skip
    if pause:
        assert overlay <= set(before), "nothing slow is in the pause"


def test_no_operation_is_one_of_a_guest_s_disk():
    """What writes, snapshots and discards does so on the node alone."""
    state = [op for step in PROGRAM.steps for op in step.covers if op.kind in (
        Kind.ADD_VMSTATE_NODE, Kind.WRITE_VMSTATE, Kind.DISCARD_VMSTATE,
    )]  # fmt: skip
    assert {op.disk for op in state} == {NODE}
    assert len(state) == 3


@pytest.mark.parametrize("design", [d.name for d in DESIGNS if d.name != "vmstate-node"])
def test_no_other_design_does_it(design):
    """`auto` says nothing of them: they were not tried."""
    with pytest.raises(Refused) as refused:
        choose_design(design, PROGRAM.resolution)
    assert refused.value.code == "design-cannot"
    chosen, not_chosen = choose_design("auto", PROGRAM.resolution)
    assert (chosen.name, not_chosen) == ("vmstate-node", ())


def test_auto_never_takes_it_unasked():
    """Any other request gets what it got before, and is not told of it."""
    other = asked(internal="disk0")
    program = plan("auto", VM, other).program
    assert program.design == "transactional"
    assert not any("vmstate-node" in problem.message for problem in program.not_chosen)
    with pytest.raises(Refused, match="vmstate-node cannot"):
        plan("vmstate-node", VM, other)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("relative.qcow2", "path-not-absolute"),
        ("/vm/disk0.qcow2", "path-in-use"),
        ("/o/vars0", "path-used-twice"),
    ],
)
def test_where_no_image_can_be(path, code):
    """As for any file that is made."""
    with pytest.raises(Refused) as refused:
        plan("auto", VM, asked(image=path))
    assert code in {problem.code for problem in refused.value.problems}


def test_facts_without_descriptors_are_refused():
    """The commands are needed in the pause's neighbourhood: better refused than failed."""
    schema = tuple(entry for entry in VM.schema if entry["name"] != "add-fd")
    with pytest.raises(Refused, match="problem") as refused:
        plan("auto", evolve(VM, schema=schema), asked())
    assert {problem.code for problem in refused.value.problems} == {"command-lacking"}


@pytest.mark.parametrize(
    "state", ["{image: 7}", "{image: ''}", "{image: /x, capture: live}", '{image: "a\\0b"}']
)
def test_what_is_no_image(state):
    """Each is a problem of the file."""
    assert read_request(f"tag: a\nmachine-state: {state}\ndisks: {{}}").problems


def held(**more):
    return SnapshotInfo("1", "a", 7, 4096, **more)


@pytest.mark.parametrize(
    ("own", "fresh", "code"),
    [
        ((), 7, "part-count"),
        ((held(), held()), 7, "part-count"),
        ((evolve(held(), name="b"),), 7, "vmstate-misplaced"),
        ((evolve(held(), vm_state_size_bytes=0),), 7, "vmstate-misplaced"),
        ((held(),), 8, "parts-differ"),
    ],
)
def test_what_qemu_shows_must_be_the_snapshot(own, fresh, code):
    """One, of the tag, with machine state, of the disks' instant."""
    disk = SnapshotInfo("4", "a", fresh, 0)
    shown = Shown({"disk0": (disk,)}, {}, {}, KeptFile(9, "d"), own)
    with pytest.raises(NotShown) as wrong:
        list(MakeVmstateImage().confirmed(PROGRAM.resolution, shown))
    assert wrong.value.code == code
    right = evolve(shown, in_own_node=(held(),), fresh={"disk0": (evolve(disk, vm_clock_ns=7),)})
    (part,) = MakeVmstateImage().confirmed(PROGRAM.resolution, right)
    assert (part.instant_ns, part.state_bytes, part.plain_id) == (7, 4096, "1")
    with pytest.raises(NotShown):
        list(MakeVmstateImage().confirmed(PROGRAM.resolution, evolve(right, kept=None)))


PART = VmstateImage(
    file=PATH,
    format="qcow2",
    record=FileRecord(1, 2, 100, 3, 4, "digest"),
    snapshot_id="1",
    vm_clock_ns=7,
    vm_state_size_bytes=4096,
)


def seen(*snapshots, size=100):
    return Seen({"": {PATH: Image(PATH, "qcow2", 0, snapshots, active=False)}}, {PATH: size})


@pytest.mark.parametrize(
    ("now", "codes"),
    [
        (seen(held()), []),
        (seen(held(), size=None), ["file-missing"]),
        (seen(held(), size=99), ["part-differs"]),
        (seen(), ["part-missing"]),
        (seen(evolve(held(), id="2")), ["part-missing"]),
        (seen(held(), evolve(held(), id="2")), ["part-twice"]),
        (seen(evolve(held(), vm_clock_ns=8)), ["part-differs"]),
        (seen(evolve(held(), vm_state_size_bytes=1)), ["part-differs"]),
    ],
)
def test_it_is_told_from_any_other(now, codes):
    """By its length, and by id, tag, vm-clock and size of what is in it."""
    assert [problem.code for problem in PART.problems("a", now)] == codes


def test_an_image_that_cannot_be_looked_into_is_no_way_back():
    """A load and a restore need it; a look at the list does not."""
    nowhere = {"": {}}
    assert [p.code for p in PART.load_problems("a", None, nowhere)] == ["file-missing"]
    assert [p.code for p in PART.restore_problems("a", Seen(nowhere, {PATH: 100}))] == [
        "file-missing"
    ]
    assert not list(PART.load_problems("a", None, seen(held()).images))


@pytest.mark.parametrize(
    ("record", "begins", "removed"),
    [
        (PART.record, b"QFI\xfb", True),
        (PART.record, b"QEVM", False),
        (evolve(PART.record, size_bytes=99), b"QFI\xfb", False),
        (evolve(PART.record, inode=9, sha256="other"), b"QFI\xfb", False),
        (evolve(PART.record, inode=9), b"QFI\xfb", True),
        (FileRecord(), b"", False),
    ],
)
def test_only_what_was_saved_is_removed(record, begins, removed):
    """By its name alone it may be anybody's."""
    problem = PART.removal_problem(FoundFile(record), begins)
    assert (problem is None) is removed


def test_a_draft_proposes_it_where_nothing_else_leaves_the_guest_as_it_stood():
    """Before 10.0 a stream ends in postmigrate, and a raw disk holds no machine state."""
    old = facts(raw("vars0"), version="7.2", run_state="paused")
    assert draft_of(old, "a").machine_state == ImageMachineState("/vm/a.vmstate.qcow2")
    assert isinstance(
        draft_of(evolve(old, run_state="running"), "a").machine_state, ExternalMachineState
    )
    inside = facts(qcow2("disk0"), raw("vars0"), version="7.2", run_state="paused")
    assert draft_of(inside, "a").machine_state == InternalMachineState("disk0")


def test_the_way_back_of_such_a_load_keeps_the_state_in_a_disk():
    """What is there before a load is saved inside the images that it reverts."""
    vm = facts(qcow2("disk0", encrypted=True), qcow2("disk1"))
    parts = tuple(InternalSnapshot(disk=name, node=name, root=name) for name in ("disk0", "disk1"))
    head = Manifest("a", "vmstate-node", "0", vm.qemu, vm.machine, (*parts, PART))
    assert keeping_plan("b", head, vm).program.resolution.vmstate == "disk1"
