"""Copies of disks in the explorer, and in SPIN's reading of it.

Where QEMU lets a copy fail alone, all holds whatever strikes; before 11 one that cannot be written fails
a write of the guest, and nothing that a client does can change that (fact 113).
"""

import networkx as nx
import pytest
from attrs import evolve

from planner.compile.graph import build_graph
from planner.compile.plan import compile_request
from planner.compile.rules import RULES
from planner.errors import Refused
from planner.explore.copies import CopiesVm
from planner.explore.design_text import read_design
from planner.explore.instruction import CopyOf, Instruction
from planner.explore.layers import Layers
from planner.explore.laying import instructions_for
from planner.explore.moves import Moves, Reductions
from planner.explore.search import Search, explore
from planner.explore.setting_of import instructions_of, setting_of
from planner.explore.story import tell
from planner.model.operations import Kind
from planner.model.request_text import read_request
from planner.program.resolution import operations_of
from tests.model.exploring import facts_of, request_text, resolution_of, setting_for
from tests.model.spin import SPIN_MISSING, spin_and_explorer
from tests.support.fixtures import long

NO_STATE = {"machine_state": "none"}
INSIDE = {"machine_state": "{internal: disk0}"}
SPARING = {"7.2": False, "11.1": True}
"""Whether a QEMU lets a copy that cannot be written fail alone."""
CASES = [
    (version, *sizes)
    for version in SPARING
    for sizes in (
        (1, 1, NO_STATE),
        (2, 2, NO_STATE),
        (3, 1, INSIDE | {"overlays": 1}),
        (3, 3, NO_STATE),
    )
]


def copying(disks, copies, version="11.1", words=NO_STATE, faults=0, **more):
    """Design `transactional` over a request that copies the last disks."""
    facts = facts_of(disks, version=version)
    resolution = resolution_of(facts, copies=copies, **words, **more)
    return setting_for("transactional", facts=facts, resolution=resolution, faults=faults)


@pytest.mark.parametrize("version", SPARING)
@pytest.mark.parametrize(
    ("disks", "copies", "words"),
    [(1, 1, NO_STATE), (2, 1, INSIDE), (3, 1, INSIDE | {"overlays": 1}), (3, 3, NO_STATE)],
)
@pytest.mark.parametrize("faults", [0, 1, 2])
def test_what_copies_hold(version, disks, copies, words, faults):
    """All but what fact 113 says of a QEMU before 11, and what machine state in a disk can leave."""
    wanted = {"guest-spared"} if faults and not SPARING[version] else set()
    wanted |= {"no-vmstate-left"} if faults and words is not NO_STATE else set()
    report = explore(copying(disks, copies, version, words, faults))
    assert report.finished
    assert set(report.violated) == wanted


@pytest.mark.parametrize("version", SPARING)
def test_no_reduction_changes_what_is_said_of_copies(version):
    """A search that leaves nothing out finds the same, by as short a run."""
    for disks, copies in ((1, 1), (2, 2)):
        setting = copying(disks, copies, version, faults=1)
        told = [
            [(found.property_id, len(found.moves)) for found in explore(setting, how).violations]
            for how in (None, Reductions.none())
        ]
        assert told[0] == told[1]


@pytest.mark.skipif(bool(SPIN_MISSING), reason=f"not installed: {', '.join(SPIN_MISSING)}")
@pytest.mark.parametrize("case", [("7.2", 2, 1, INSIDE), *long(*CASES)], ids=str)
def test_spin_agrees_about_copies(case, tmp_path):
    """The same properties are violated with one fault."""
    version, disks, copies, words = case
    setting = copying(disks, copies, version, words, faults=1)
    spin, explorer, _ = spin_and_explorer(setting, explore(setting), tmp_path)
    assert spin == explorer


def grouped(disks, **more):
    return setting_for("copies-grouped", disks, **more)


@pytest.mark.parametrize("disks", long(1, 3))
def test_spin_agrees_about_copies_that_end_together(disks, tmp_path):
    """Two disks are asked with the other designs."""
    setting = grouped(disks, faults=1)
    violated, expected, _ = spin_and_explorer(setting, explore(setting), tmp_path)
    assert violated == expected


def test_of_copies_that_end_together_one_ends_all():
    """Its end is that of all, its failure and its cancellation too; ended once is ended for each."""
    together, alone = (
        CopiesVm(setting, Layers()) for setting in (grouped(3), copying(3, 3, faults=0))
    )
    begun = Moves(grouped(3)).start()
    begun = begun._replace(copy=begun.copy._replace(targets=0b111, jobs=0b111, of=(1, 1, 1)))
    ended = together.operate(begun, Kind.END_COPY, 1)
    assert (ended.copy.jobs, ended.copy.whole) == (0, 0b111)
    assert together.operate(ended, Kind.END_COPY, 2).copy == ended.copy
    assert alone.operate(begun, Kind.END_COPY, 1).copy.jobs == 0b101
    assert together.failed(begun, 0).copy.broken == 0b111
    assert alone.failed(begun, 0).copy.broken == 0b001
    assert together.operate(together.failed(begun, 0), Kind.END_COPY, 1) is None


@pytest.mark.parametrize("witness", ["explorer", *long("spin")])
def test_a_copy_of_its_end_is_torn(witness, tmp_path):
    """As `blockdev-mirror` copies: what the guest writes meanwhile is in it, and in nothing else."""
    setting = copying(2, 1, words=INSIDE)
    at_end = tuple(evolve(i, copy_of=CopyOf.END) for i in setting.instructions)
    torn = evolve(setting, instructions=at_end)
    report = explore(torn)
    assert report.violated == ("one-instant", "loadable")
    if witness == "spin" and not SPIN_MISSING:
        spin, explorer, _ = spin_and_explorer(torn, report, tmp_path)
        assert spin == explorer


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("copy-after-resume", {"complete", "pause-short"}),
        pytest.param("one-instant", {"one-instant"}, marks=pytest.mark.long),
        ("overlay-ready", {"pause-short"}),
    ],
)
def test_each_rule_about_copies_is_needed(rule, wanted):
    """Each operation sent alone, in every order: all are right, and without the rule some are not."""
    facts = facts_of(2, version="11.1")
    resolution = resolution_of(facts, copies=1, **INSIDE)

    def violated(rules):
        found = set()
        for order in nx.all_topological_sorts(build_graph(operations_of(resolution), rules)):
            instructions = [Instruction(str(op), (op,), (0,)) for op in order]
            found.update(explore(setting_of(resolution, instructions, "rules", facts)).violated)
        return found

    assert violated(RULES) == set()
    assert wanted <= violated([kept for kept in RULES if kept.id != rule])


def test_the_design_file_says_what_is_compiled():
    """The same instructions, effects and order, with a copy, an overlay and machine state."""
    facts = facts_of(3, version="11.1")
    words = INSIDE | {"overlays": 1, "copies": 1}
    program = compile_request(
        read_request(request_text(3, **words)), facts, "transactional"
    ).program
    compiled = setting_of(program.resolution, instructions_of(program), "transactional", facts)
    assert setting_for("transactional", facts=facts, resolution=program.resolution) == compiled


def test_every_line_about_copies_can_be_told():
    """What happens to a copy is told by the disk's name: begun, struck, ended in the undo, closed."""
    setting = copying(1, 1, "7.2", faults=1)
    search = Search(setting)
    list(search.run())
    [spoilt] = search.report().violations
    lines = tell(setting, search.moves.layers, spoilt.moves)
    told = [line.brief for line in lines]
    wanted = ["copy begins", "guest's write: error", "job-cancel", "blockdev-del", "remove file"]
    assert [brief for brief in told if brief in wanted] == wanted
    assert "disk0" in lines[told.index("copy begins")].text


@pytest.mark.parametrize(
    ("design", "state"),
    [("vmstate-node", "{image: /s}"), ("background", "{external: /s, capture: background}")],
)
def test_copies_beside_machine_state_of_its_own(design, state):
    """An internal part, an overlay and a copy: the design file is what is compiled, and all holds."""
    facts = facts_of(3, version="11.1")
    words = {"machine_state": state, "overlays": 1, "copies": 1}
    program = compile_request(read_request(request_text(3, **words)), facts, design).program
    told = setting_for(design, facts=facts, resolution=program.resolution, faults=1)
    compiled = [i for i in instructions_of(program) if i.name not in ("add-fd", "remove-fd")]
    assert sorted(map(str, told.instructions)) == sorted(map(str, compiled))
    assert explore(told).violated == ()
    assert explore(evolve(told, instructions=tuple(compiled))).violated == ()


@pytest.mark.parametrize("capture", ["stopped", "live"])
def test_no_copy_goes_with_a_stream_that_stops_the_guest(capture):
    """It could not end (fact 114); the refusal says what can be done instead."""
    facts = facts_of(2, version="11.1")
    stream = f"{{external: /s, capture: {capture}}}"
    text = request_text(2, machine_state=stream, copies=1)
    with pytest.raises(Refused) as refused:
        compile_request(read_request(text), facts, "external" if capture == "stopped" else "live")
    [problem] = refused.value.problems
    assert (problem.code, problem.subject) == ("design-cannot", "disk1")
    assert "background" in problem.remedy


COPIES_AND_STREAM = """
design: copies-and-stream
capture: {capture}
instructions:
  - {{name: create, effect: create-stream}}
  - {{name: target, does: AddTarget}}
  - {{name: pause, does: PauseGuest}}
  - {{name: transaction, does: BeginCopy, atomic: true, on-failure: nothing}}
  - name: migrate
    does: {{in-order: [BeginStreamVmstate, EndStreamVmstate]}}
    leaves-nodes-active: {active}
  - {{name: resume, does: ResumeGuest}}
  - {{name: wait, does: EndCopy}}
  - {{name: keep, effect: keep-stream}}
  - {{name: close, effect: remove-target}}
"""


def copies_and_stream(capture, active, faults=0):
    """Copies that begin in the pause, and a stream that ends in it."""
    facts = facts_of(2, version="11.1")
    stream = f"{{external: /s, capture: {capture}}}"
    resolution = resolution_of(facts, machine_state=stream, copies=2)
    text = COPIES_AND_STREAM.format(capture=capture, active=str(active).lower())
    instructions = instructions_for(read_design(text), resolution)
    return setting_of(resolution, instructions, "copies-and-stream", facts, faults=faults)


@pytest.mark.parametrize("capture", ["stopped", "live"])
def test_a_stream_that_leaves_nodes_inactive_does_not_end_beside_copies(capture):
    """It fails with nothing striking, and the story says why; one that leaves them active ends."""
    setting = copies_and_stream(capture, active=False)
    search = Search(setting)
    list(search.run())
    report = search.report()
    assert "complete" in report.violated
    [failed] = [found for found in report.violations if found.property_id == "complete"]
    told = [line.text for line in tell(setting, search.moves.layers, failed.moves)]
    assert [text for text in told if "fact 114" in text]
    assert "complete" not in explore(copies_and_stream(capture, active=True)).violated


@pytest.mark.skipif(bool(SPIN_MISSING), reason=f"not installed: {', '.join(SPIN_MISSING)}")
@pytest.mark.long
@pytest.mark.parametrize("capture", ["stopped", "live"])
@pytest.mark.parametrize("active", [False, True])
def test_spin_agrees_about_a_stream_beside_copies(capture, active, tmp_path):
    """The same is violated with one fault, also where the search leaves nothing out."""
    setting = copies_and_stream(capture, active, faults=1)
    report = explore(setting)
    spin, explorer, _ = spin_and_explorer(setting, report, tmp_path)
    assert spin == explorer
    assert set(explore(setting, Reductions.none()).violated) == set(report.violated)


def test_what_is_sent_alone_is_sent_once_for_each_disk():
    """One command adds a disk's node and begins its copy, in that order; of no disk each is alone."""
    facts = facts_of(2, version="11.1")
    text = (
        "design: alone\ninstructions:\n"
        "  - {name: pause, does: PauseGuest, each-alone: true}\n"
        "  - {name: copy, does: {in-order: [AddTarget, BeginCopy]}, each-alone: true}\n"
    )
    laid = instructions_for(read_design(text), resolution_of(facts, copies=2, **NO_STATE))
    told = [(i.name, [str(operation) for operation in i.operations], i.before) for i in laid]
    assert told == [
        ("pause", ["PauseGuest()"], (0,)),
        ("copy", ["AddTarget(disk0)", "BeginCopy(disk0)"], (0, 0b1)),
        ("copy", ["AddTarget(disk1)", "BeginCopy(disk1)"], (0, 0b1)),
    ]
