"""The verifier finds each thing that can be wrong with a program that copies a disk, by its rule."""

import json

import networkx as nx
import pytest
from attrs import evolve

from planner.compile.graph import build_graph
from planner.compile.plan_text import plan_to_text, read_plan
from planner.compile.rules import RULES
from planner.errors import Refused
from planner.model.file_record import FileRecord
from planner.model.operations import Kind
from planner.parts.copied import CopiedDisk
from planner.parts.deletions import DeletionOrigin
from planner.parts.recorded_files import FoundFile
from planner.program.resolution import operations_of
from planner.verify.proof import violations
from tests.unit.build import facts, plan, qcow2, request, with_steps

VM = facts(qcow2("disk0"), qcow2("disk1"), version="10.0")
WISHES = {"disk0": "internal", "disk1": {"copy": "/new/c.qcow2"}}
PROGRAM = plan("auto", VM, request("t", {"internal": "disk0"}, WISHES)).program
NAMES = [step.execute for step in PROGRAM.steps]
INTACT = "QFI\xfb".encode("latin-1")


def step(execute):
    return PROGRAM.steps[NAMES.index(execute)]


def without(execute):
    return with_steps(PROGRAM, *(each for each in PROGRAM.steps if each is not step(execute)))


def moved(execute, before):
    rest = [each for each in PROGRAM.steps if each is not step(execute)]
    place = rest.index(step(before))
    return with_steps(PROGRAM, *rest[:place], step(execute), *rest[place:])


def changed(execute, **more):
    old = step(execute)
    return with_steps(PROGRAM, *(evolve(e, **more) if e is old else e for e in PROGRAM.steps))


def action(**more):
    """The transaction with another action for the copy."""
    [told] = step("transaction").arguments["actions"]
    return changed("transaction", arguments={"actions": [{**told, "data": told["data"] | more}]})


CASES = {
    "a copy awaited in the pause": (moved("query-jobs", "cont"), {"copy-after-resume"}),
    "a node added in the pause": (moved("blockdev-add", "transaction"), {"overlay-ready"}),
    "a copy begun while the guest runs": (moved("cont", "transaction"), {"one-instant"}),
    "a file named before its copy has ended": (moved("keep-copy", "query-jobs"), {"complete"}),
    "a node taken out before its copy has ended": (
        moved("blockdev-del", "query-jobs"), {"complete"},
    ),
    "no file": (without("create-copy"), {"complete"}),
    "no copy": (without("transaction"), {"complete"}),
    "no wait": (without("query-jobs"), {"complete"}),
    "a file left open": (without("blockdev-del"), {"complete"}),
    "no name": (without("keep-copy"), {"complete"}),
    "the half of a copy": (action(sync="top"), {"nothing-else"}),
    "another disk": (action(device="disk0"), {"nothing-else"}),
    "a job that is gone when it is looked for": (
        action(**{"auto-dismiss": True}), {"nothing-else"},
    ),
    "another file": (
        changed("create-copy", arguments={**step("create-copy").arguments, "path": "/etc/passwd"}),
        {"nothing-else", "complete"},
    ),
    "a wait for the reply alone": (
        changed("query-jobs", waits_for="reply"), {"outcome-seen"},
    ),
    "no undo of the copy": (changed("transaction", undo=()), {"undo-complete"}),
    "no undo of the node": (changed("blockdev-add", undo=()), {"undo-complete"}),
    "no undo of the file": (changed("create-copy", undo=()), {"undo-complete"}),
    "no undo of the name": (changed("keep-copy", undo=()), {"undo-complete"}),
}  # fmt: skip


def test_a_right_program_is_proved():
    """Made and added before the pause, begun in it, awaited after it, then closed and named."""
    assert violations(PROGRAM) == ()
    order = ("create-copy", "blockdev-add", "stop", "transaction", "cont", "query-jobs")
    assert [name for name in NAMES if name in order] == [*order]
    assert NAMES[-2:] == ["blockdev-del", "keep-copy"]


@pytest.mark.parametrize("name", CASES)
def test_each_mistake_is_found_by_its_rule(name):
    """One thing broken: just the rules that it breaks are named."""
    program, expected = CASES[name]
    found = violations(program)
    assert {problem.code for problem in found} == expected, "\n".join(map(str, found))


RAW = {"disk0": "internal", "disk1": {"copy": "/new/c.raw", "format": "raw"}}
RAW_PROGRAM = plan("auto", VM, request("t", {"internal": "disk0"}, RAW)).program


def test_a_raw_copy_is_its_file_and_nothing_else():
    """Made raw, added by `driver: file`, proved; its plan is read again as it was written."""
    assert violations(RAW_PROGRAM) == ()
    made, added = RAW_PROGRAM.steps[:2]
    assert (made.execute, made.arguments["format"]) == ("create-copy", "raw")
    [copy] = RAW_PROGRAM.resolution.copies
    file = {"driver": "file", "filename": copy.temporary}
    assert added.arguments == {**file, "node-name": copy.target}
    whole = plan("auto", VM, request("t", {"internal": "disk0"}, RAW))
    assert read_plan(plan_to_text(whole)) == whole
    plain = plan_to_text(plan("auto", VM, request("t", "none", WISHES)))
    [as_before] = json.loads(plain)["program"]["resolution"]["copies"]
    assert "format" not in as_before, "a plan of a qcow2 copy is as it was"


@pytest.mark.parametrize("which", [0, 1], ids=["made-qcow2", "added-qcow2"])
def test_a_raw_copy_that_is_made_or_added_as_qcow2_is_found(which):
    """QEMU would write a format into what is recorded as raw, or fail."""
    steps = list(RAW_PROGRAM.steps)
    one = steps[which]
    [copy] = RAW_PROGRAM.resolution.copies
    if which == 0:
        kept = {name: value for name, value in one.arguments.items() if name != "format"}
    else:
        kept = {"driver": "qcow2", "node-name": copy.target}
        kept["file"] = {"driver": "file", "filename": copy.temporary}
    steps[which] = evolve(one, arguments=kept)
    codes = {problem.code for problem in violations(with_steps(RAW_PROGRAM, *steps))}
    assert codes == ({"nothing-else", "complete"} if which == 0 else {"nothing-else"})


@pytest.mark.parametrize("path", ["nbd://host/x", "nbd+unix:///x?socket=/s", "json:{}", "nbd:h:1"])
def test_an_address_is_no_place_for_a_part(path):
    """It has no name that comes last, no times and no inode: refused, with what can be done."""
    for wishes in ({"disk1": {"copy": path, "format": "raw"}}, {"disk1": {"external": path}}):
        with pytest.raises(Refused) as refused:
            plan("auto", VM, request("t", "none", {"disk0": "internal", **wishes}))
        assert [problem.code for problem in refused.value.problems] == ["path-not-a-file"]


def test_a_migration_cannot_end_while_a_disk_is_copied():
    """Machine state in a file goes with no copy: refused before anything is sent."""
    state = {"external": "/new/state", "capture": "stopped"}
    with pytest.raises(Refused) as refused:
        plan("auto", VM, request("t", state, WISHES))
    assert {problem.code for problem in refused.value.problems} == {"design-cannot"}


@pytest.mark.parametrize(
    ("disk", "code"),
    [
        (qcow2("disk1", encrypted=True), "copy-of-encrypted"),
        (qcow2("disk1", read_only=True), "disk-read-only"),
        (qcow2("disk1", active=False), "node-inactive"),
    ],
)
def test_what_cannot_be_copied_is_refused(disk, code):
    """Each with its reason."""
    with pytest.raises(Refused) as refused:
        plan("auto", facts(qcow2("disk0"), disk), request("t", "none", WISHES))
    assert code in {problem.code for problem in refused.value.problems}


@pytest.mark.parametrize(("version", "spares"), [("7.2", False), ("10.0", False), ("11.1", True)])
def test_the_guest_is_spared_where_qemu_can(version, spares):
    """Only a QEMU with `on-cbw-error` is told so, and only the others' plans warn."""
    vm = facts(qcow2("disk0"), qcow2("disk1"), version=version)
    program = plan("auto", vm, request("t", "none", WISHES)).program
    [transaction] = [each for each in program.steps if each.execute == "transaction"]
    data = transaction.arguments["actions"][1]["data"]
    assert ("on-cbw-error" in data) == spares
    assert any("fact 113" in warning for warning in program.resolution.warnings) == (not spares)


RECORD = FileRecord(device=1, inode=2, size_bytes=9, mtime_ns=3, ctime_ns=4, sha256="ab")
PART = CopiedDisk(disk="disk1", file="/c", format="qcow2", size_bytes=9, record=RECORD)


@pytest.mark.parametrize(
    ("now", "begins", "stays"),
    [
        (RECORD, INTACT, False),
        (None, b"", False),
        (evolve(RECORD, inode=7), INTACT, False),  # copied: its content decides
        (evolve(RECORD, inode=7, sha256="cd"), INTACT, True),
        (evolve(RECORD, inode=7, sha256=""), INTACT, True),
        (evolve(RECORD, size_bytes=8), INTACT, True),
        (RECORD, b"text", True),
        (FileRecord(), INTACT, True),
    ],
)
def test_only_the_copy_that_was_saved_is_removed(now, begins, stays):
    """A name is no proof."""
    problem = PART.removal_problem(FoundFile(now), begins)
    assert (problem is not None) == stays


@pytest.mark.parametrize(
    ("now", "stays"),
    [
        (RECORD, False),
        (evolve(RECORD, inode=7), False),
        (evolve(RECORD, inode=7, sha256="cd"), True),
        (evolve(RECORD, size_bytes=8), True),
    ],
)
def test_only_the_raw_copy_that_was_saved_is_removed(now, stays):
    """Its first bytes are the guest's, and say nothing; what was written down decides."""
    raw = evolve(PART, format="raw")
    assert (raw.removal_problem(FoundFile(now), b"guest") is not None) == stays
    unknown = evolve(raw, record=FileRecord())
    assert unknown.removal_problem(FoundFile(now), b"guest") is not None


def test_a_copy_on_another_machine_is_not_removed():
    """Over TCP the file may be somebody else's of the same name."""
    origin = DeletionOrigin(
        "a", {}, None, (), disks=None, live_nodes={}, files_here=False, frozen_ns=0
    )
    assert [problem.code for problem in PART.delete_problems(origin)] == ["host-not-here"]
    assert not list(PART.delete_problems(evolve(origin, files_here=True)))


def test_an_overlay_of_a_restore_keeps_the_copy():
    """Whatever made it, a file of that name lies on the copy."""
    part = evolve(PART, file="/d/c.qcow2")
    [problem] = part.restored_problems({"/d/c.restored-2.qcow2", "/d/other.qcow2"})
    assert problem.code == "part-needed"


@pytest.mark.parametrize("dropped", [None, "copy-after-resume"])
def test_one_rule_alone_keeps_the_wait_for_a_copy_out_of_the_pause(dropped):
    """Without it the graph lets the guest stand until all is copied."""
    rules = tuple(rule for rule in RULES if rule.id != dropped)
    graph = build_graph(operations_of(PROGRAM.resolution), rules)
    (resume,) = (each for each in graph if each.kind is Kind.RESUME_GUEST)
    (end,) = (each for each in graph if each.kind is Kind.END_COPY)
    assert nx.has_path(graph, resume, end) is (dropped is None)
