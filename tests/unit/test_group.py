"""What a group may be, in which order its members run, and what its record decides."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from attrs import evolve

from planner.compile.plan import compile_request
from planner.errors import BadInput, Problem, Refused, Violation
from planner.group.gatekeeper import Gatekeeper
from planner.group.planning import MemberPlan, in_group, plan_group
from planner.group.record import GroupMember, GroupRecord, GroupState
from planner.group.records import GroupStore
from planner.group.serving import Server
from planner.group.union import GROUP_RULE, union_graph
from planner.model.facts import SnapshotInfo
from planner.model.group_run import GroupRun
from planner.model.group_text import group_schema, read_group
from planner.model.operations import Kind
from planner.model.request_text import read_request
from planner.program.gates import Gate, gates_of
from planner.run.ports import GateShut
from planner.run.pump import ask_facts
from planner.semantics.construct import DiskDescription, vm_state
from planner.store.claims import ImageFile
from planner.verbs.group_members import Refusals
from planner.verbs.group_save import MemberWish, plan_of_facts
from planner.verify.group_proof import GatedProgram, group_violations, verify_group
from tests.crash.faulty_vm import FaultyVm

DISKS = ("disk0", "disk1")
STATE = "machine-state: {internal: disk0}\ndisks: {disk0: internal, disk1: internal}\n"
NONE = "machine-state: none\ndisks: {disk0: internal, disk1: internal}\n"
INSIDE = "disks: {disk0: internal, disk1: internal}\n"
FILE = "group: g\nmembers:\n  db: {vm: /a, request: r.yaml}\n"


def stream(capture):
    return f"machine-state: {{external: /vm/state, capture: {capture}}}\n{INSIDE}"


def member(
    name, text=STATE, design="transactional", *, run_state="running", disks=DISKS, daemon=False
):
    described = [DiskDescription(disk, "qcow2") for disk in disks]
    state = vm_state("11.1", described, run_state=run_state, daemon=daemon)
    facts = asyncio.run(ask_facts(FaultyVm(state, "t")))
    plan = compile_request(read_request(f"tag: t\n{text}"), facts, design)
    images = (ImageFile(f"/{name}/disk0"),)
    return MemberPlan(name, f"/run/{name}", plan, facts, images)


def refused(*members):
    with pytest.raises(Refused) as error:
        plan_group("g", members)
    assert error.value.code == "group-refused"
    return [(problem.code, problem.subject) for problem in error.value.problems]


CAPTURES = {
    "transactional": STATE,
    "external": stream("stopped"),
    "live": stream("live"),
    "background": stream("background"),
}


@pytest.mark.parametrize("design", CAPTURES)
def test_every_design_that_can_wait_is_one_instant(design):
    """The gates of each design, with a member of another one: proved."""
    plan = plan_group("g", [member("db"), member("web", CAPTURES[design], design)])
    assert [each.name for each in plan.members] == ["db", "web"]


@pytest.mark.parametrize("run_state", ["running", "paused"])
@pytest.mark.parametrize("after", ["as-before", "running", "paused"])
def test_it_is_one_instant_in_whatever_state_a_member_is(run_state, after):
    """Paused before, paused after, or both."""
    text = f"{STATE}run-state-after: {after}\n"
    plan_group("g", [member("db"), member("web", text, run_state=run_state)])


def test_a_live_member_stands_before_the_others_are_stopped():
    """Its first gate is behind the step that stops it; that of the others is before theirs."""
    for design, text in CAPTURES.items():
        program = member("db", text, design).plan.program
        gates = gates_of(program)
        pause = next(n for n, step in enumerate(program.steps, 1)
                     if any(o.kind is Kind.PAUSE_GUEST for o in step.covers))  # fmt: skip
        [at] = [number for number, found in gates.items() if Gate.PAUSE in found]
        assert at == (pause + 1 if design == "live" else pause)


def test_what_cannot_wait_is_refused():
    """One job that stops and resumes; disks alone; what is replaced first."""
    job = member("web", design="monolithic")
    assert refused(member("db"), job) == [("group-monolithic", "web")]
    assert refused(member("db", NONE), member("web")) == [("group-without-pause", "db")]
    plan_group("g", [member("db"), member("web", design="monolithic", run_state="paused")])
    plan_group("g", [member("db"), member("web", f"{NONE}run-state-after: paused\n")])


# --- storage daemons ------------------------------------------------------------------------------

SERVED = "machine-state: {internal: disk0}\ndisks: {disk0: internal, disk1: {served-by: store}}\n"


def served(text=NONE):
    return member("store", text, daemon=True)


def test_a_storage_daemon_waits_until_the_guests_stand():
    """All its disks are captured between the last stop and the first `cont`."""
    store = served()
    assert gates_of(store.plan.program) == {
        1: (Gate.FREEZE, Gate.PAUSE, Gate.STANDING),
        2: (Gate.RESUME,),
    }
    for design, text in CAPTURES.items():
        plan_group("g", [member("db", text, design), store])


def test_daemons_alone_are_refused():
    """Nobody's guest is stopped, so nothing makes them one instant."""
    assert refused(served()) == [("group-without-pause", "store")]
    stood = member("db", run_state="paused")
    assert refused(stood, served()) == [("group-without-pause", "store")]


def test_who_serves_a_disk_is_a_daemon_of_the_group_and_saves_it():
    """No member of that name; no daemon; a daemon that leaves a disk out: which one is not known."""
    db = member("db", SERVED)
    assert "disk1" in db.plan.program.resolution.excluded
    assert [w for w in db.plan.program.resolution.warnings if "left out" in w] == []
    plan_group("g", [db, served()])
    assert refused(db, member("web")) == [("served-by-nobody", "db: disk1")]
    assert refused(db, member("store")) == [("served-by-nobody", "db: disk1")]
    part = served("machine-state: none\ndisks: {disk0: internal, disk1: exclude}\n")
    assert refused(db, part) == [("served-in-part", "db: disk1")]


def test_another_server_than_the_request_says_is_an_error():
    """A member or a process that is seen; what is not seen is the request's word, and told so."""
    db = member("db", SERVED)
    seen = {
        "store": (Server("unix:/s", member="store"), []),
        "other": (Server("unix:/s", member="other"), [("served-by-another", "db: disk1")]),
        "process": (Server("unix:/s", process="qsd 7"), [("served-by-another", "db: disk1")]),
        "unseen": (Server("unix:/s"), []),
    }
    for server, problems in seen.values():
        at = evolve(db, servers={"disk1": server})
        if problems:
            assert refused(at, served()) == problems
        else:
            plan_group("g", [at, served()])
    told = {n: evolve(db, servers={"disk1": server}).warnings for n, (server, _) in seen.items()}
    assert [n for n, all_of in told.items() if "request's word" in str(all_of)] == ["unseen"]


def test_who_serves_a_disk_outside_is_proposed():
    """Where a member is seen at its other end; a process is named; else the refusal stays as it is."""
    refusal = Problem("storage-outside", "vud0", "m", "r")
    by_member = in_group(refusal, {"vud0": Server("unix:/s", member="store")})
    assert "`vud0: {served-by: store}`" in by_member.remedy
    assert "qsd 7" in in_group(refusal, {"vud0": Server("unix:/s", process="qsd 7")}).remedy
    for seen in ({}, {"vud0": Server("unix:/s")}):
        assert in_group(refusal, seen) == refusal
    other = Problem("no-machine", "vud0", "m", "r")
    assert in_group(other, {"vud0": Server("unix:/s", member="store")}) == other


@pytest.mark.parametrize(
    "gates",
    [
        {1: (Gate.PAUSE,), 2: (Gate.RESUME,)},
        {1: (Gate.PAUSE,), 2: (Gate.STANDING, Gate.RESUME)},
        {1: (Gate.PAUSE, Gate.STANDING, Gate.RESUME)},
    ],
    ids=["it-does-not-wait", "it-waits-too-late", "it-captures-too-late"],
)
def test_a_daemon_that_captures_while_guests_run_is_no_proof(gates):
    """And neither is a guest that never says that it stands, or says so before it does."""
    db, store = member("db").plan.program, served().plan.program
    right = {"db": GatedProgram(db, gates_of(db)), "store": GatedProgram(store, gates_of(store))}
    assert group_violations(right) == ()
    assert group_violations({**right, "store": GatedProgram(store, gates)})
    untold = {n: tuple(g for g in at if g is not Gate.PAUSED) for n, at in gates_of(db).items()}
    assert group_violations({**right, "db": GatedProgram(db, untold)})
    early = {**untold, 1: (Gate.PAUSED, *untold[1])}
    assert group_violations({**right, "db": GatedProgram(db, early)})
    assert group_violations({"store": right["store"]})


def test_the_graph_has_a_daemons_captures_between_the_pauses_and_the_resumes():
    """The rule as edges."""
    members = {"db": member("db"), "store": served()}
    graph = union_graph({name: one.plan.program.resolution for name, one in members.items()})
    captures = [op for op in graph if op.vm == "store" and op.kind is Kind.SNAPSHOT_DISK]
    assert len(captures) == 2
    for capture in captures:
        assert {op.kind for op in graph.predecessors(capture)} == {Kind.PAUSE_GUEST}
        assert {op.kind for op in graph.successors(capture)} == {Kind.RESUME_GUEST}


def test_the_gate_for_those_without_a_guest_opens_when_the_guests_stand():
    """Not when they are about to be stopped; a member that stood before is not waited for."""

    async def work():
        keeper, seen = Gatekeeper.of(["db", "old", "store"], {}, stops=["db"]), []

        async def store():
            await keeper.wait_at("store", Gate.PAUSE)
            await keeper.wait_at("store", Gate.STANDING)
            seen.append("captures")

        waiting = asyncio.create_task(store())
        await asyncio.gather(*(keeper.wait_at(name, Gate.PAUSE) for name in ("db", "old")))
        for _ in range(5):
            await asyncio.sleep(0)
        assert seen == []
        await keeper.wait_at("db", Gate.PAUSED)
        await waiting
        return seen

    assert asyncio.run(work()) == ["captures"]


def test_a_request_that_replaces_is_refused():
    """What it deletes first is not brought back when another member fails."""
    one = member("db")
    replaced = (type("Old", (), {"disk": "disk0", "id": "1", "root": "disk0"})(),)
    resolution = evolve(one.plan.program.resolution, replaced=replaced)
    program = evolve(one.plan.program, resolution=resolution)
    one = evolve(one, plan=evolve(one.plan, program=program))
    assert refused(one, member("web")) == [("group-replaces", "db")]


def test_members_that_share_an_image_are_refused():
    """By path or by file, written by both or read by one; two machines' paths are two images."""
    db, web = member("db"), member("web")
    same = evolve(web, images=db.images)
    assert refused(db, same) == [("group-image-shared", "db, web")]
    below = evolve(web, below=frozenset({"/db/disk0"}))
    assert refused(db, below) == [("group-image-shared", "db, web")]
    plan_group("g", [db, evolve(same, address="other:4444")])


@pytest.mark.parametrize(("more", "code"), [("", "tag-taken"), ("replace", "group-replaces")])
def test_a_tag_that_is_taken_has_a_remedy_that_a_group_takes(more, code):
    """A group replaces nothing: so it is not offered, and who says it is told what to do instead."""
    facts = member("db").facts
    text = f"tag: t\n{NONE}" + (f"existing-tag: {more}\npause: always\n" if more else "")
    wish = MemberWish(read_request(text))
    with pytest.raises(Refused) as caught:
        plan_of_facts({"db": taken(facts)}, {"db": wish}, "g")
    problems = caught.value.problems
    assert {problem.code for problem in problems} == {code}
    for problem in problems:
        assert "replace" not in problem.remedy
        assert "delete the old snapshot first" in problem.remedy


def taken(facts):
    old = SnapshotInfo("1", "t", vm_clock_ns=1)
    return evolve(facts, disks=tuple(evolve(disk, snapshots=(old,)) for disk in facts.disks))


def test_every_member_whose_tag_is_taken_is_told():
    """Not the first one alone: each with its disks, its name, and its way out."""
    facts = member("db").facts
    wish = MemberWish(read_request(f"tag: t\n{NONE}"))
    with pytest.raises(Refused) as caught:
        plan_of_facts(
            {"db": taken(facts), "queue": facts, "web": taken(facts)},
            dict.fromkeys(("db", "queue", "web"), wish),
            "g",
        )
    assert (caught.value.code, caught.value.exit_code) == ("request-refused", 10)
    assert {problem.code for problem in caught.value.problems} == {"tag-taken"}
    named = {problem.subject.partition(":")[0] for problem in caught.value.problems}
    assert named == {"db", "web"}
    assert all("delete the old snapshot first" in each.remedy for each in caught.value.problems)


def test_what_speaks_against_members_for_several_reasons_is_one_error():
    """Bad usage of one and a refusal of another are bad usage, with both; one alone is as it is."""
    refusals = Refusals("g")
    with refusals.of("db"):
        raise Refused.of(Problem("tag-taken", "disk0", "taken", "another"))
    with refusals.of("queue"):
        pass
    with pytest.raises(Refused) as alone:
        refusals.raise_all()
    assert (alone.value.code, alone.value.problems[0].subject) == ("tag-taken", "db: disk0")
    with refusals.of("web"):
        raise BadInput.of(Problem("key-missing", "tag", "no tag", "give one"))
    with pytest.raises(BadInput) as both:
        refusals.raise_all()
    assert (both.value.code, both.value.exit_code) == ("key-missing", 2)
    assert [each.subject for each in both.value.problems] == ["db: disk0", "web: tag"]
    assert [each.remedy for each in both.value.problems] == ["another", "give one"]


def test_two_members_make_no_file_together():
    """Each needs its own."""
    text = CAPTURES["external"]
    found = refused(member("db", text, "external"), member("web", text, "external"))
    assert found == [("path-used-twice", "/vm/state")]


def test_the_rule_adds_one_edge_for_each_pair_of_vms():
    """64 VMs with 16 disks each: 4,032 edges, and none between other operations."""
    disks = tuple(f"disk{n}" for n in range(16))
    wishes = ", ".join(f"{disk}: internal" for disk in disks)
    text = f"machine-state: {{internal: disk0}}\ndisks: {{{wishes}}}\n"
    one = member("vm", text, disks=disks).plan.program.resolution
    graph = union_graph({f"vm{n}": one for n in range(64)})
    added = [edge for edge, rules in graph.edges.items() if GROUP_RULE.id in rules["rules"]]
    assert len(added) == 64 * 63 == 4032
    assert {(a.kind, b.kind) for a, b in added} == {(Kind.PAUSE_GUEST, Kind.RESUME_GUEST)}


@pytest.mark.parametrize(
    "gates",
    [
        {},
        {1: (Gate.RESUME,)},
        {5: (Gate.RESUME,)},
        {2: (Gate.RESUME,)},
        {4: (Gate.RESUME, Gate.RESUME)},
    ],
    ids=["none", "before-the-pause", "behind-the-resume", "before-the-captures", "twice"],
)
def test_gates_elsewhere_are_no_proof(gates):
    """No gate, one before the guest stands, one behind `cont`, one before the captures, two."""
    program = member("db").plan.program
    assert [step.execute for step in program.steps] == [
        "stop",
        "snapshot-save",
        "transaction",
        "cont",
    ]
    assert group_violations({"db": GatedProgram(program, {4: (Gate.RESUME,)})}) == ()
    with pytest.raises(Violation) as error:
        verify_group({"db": GatedProgram(program, gates)})
    assert {problem.code for problem in error.value.problems} == {"group-instant"}


# --- the gates while they run ---------------------------------------------------------------------


def test_a_gate_opens_when_all_are_there_and_not_before():
    """Whoever comes first waits."""

    async def work():
        keeper, passed = Gatekeeper.of(["a", "b"], {}), []

        async def come(name):
            await keeper.wait_at(name, Gate.PAUSE)
            passed.append(name)

        first = asyncio.create_task(come("a"))
        await asyncio.sleep(0)
        assert passed == []
        await come("b")
        await first
        return passed

    assert sorted(asyncio.run(work())) == ["a", "b"]


def test_a_group_that_is_given_up_opens_no_gate():
    """Whoever waits, and whoever comes later, is told why."""

    async def work():
        keeper = Gatekeeper.of(["a", "b"], {})
        waiting = asyncio.create_task(keeper.wait_at("a", Gate.RESUME))
        await asyncio.sleep(0)
        keeper.give_up("job-failed", "b", "no room")
        with pytest.raises(GateShut, match="member 'b': no room"):
            await waiting
        with pytest.raises(GateShut):
            await keeper.wait_at("b", Gate.PAUSE)

    asyncio.run(work())


def test_what_is_decided_is_not_taken_back():
    """Once the decision is made nobody gives the group up, and who is cancelled goes on."""

    async def work():
        keeper = Gatekeeper.of(["a", "b"], {Gate.COMMIT: lambda: True})
        waiting = asyncio.create_task(keeper.wait_at("a", Gate.COMMIT))
        await asyncio.sleep(0)
        waiting.cancel()
        await keeper.wait_at("b", Gate.COMMIT)
        keeper.give_up("interrupted", "", "too late")
        assert keeper.gave_up is None
        await waiting

    asyncio.run(work())


def test_who_is_cancelled_before_the_decision_takes_the_others_with_him():
    """He is at the gate no more: a decision without him would be about a member that undoes itself."""

    async def work():
        keeper = Gatekeeper.of(["a", "b"], {Gate.COMMIT: lambda: True})
        waiting = asyncio.create_task(keeper.wait_at("a", Gate.COMMIT))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(GateShut):
            await keeper.wait_at("b", Gate.COMMIT)
        assert not keeper.final

    asyncio.run(work())


def test_a_decision_that_cannot_be_written_is_none():
    """Every member is undone."""

    async def work():
        keeper = Gatekeeper.of(["a"], {Gate.COMMIT: lambda: False})
        with pytest.raises(GateShut, match="cannot be written"):
            await keeper.wait_at("a", Gate.COMMIT)
        assert keeper.gave_up.code == "group-undecided"

    asyncio.run(work())


def test_the_guests_stand_no_longer_than_the_budget():
    """The first guest stands, the last member never comes: the group is given up, by its name."""

    async def work():
        keeper = Gatekeeper.of(["a", "b"], {}, budget_ms=1.0)
        await keeper.wait_at("a", Gate.PAUSED)
        with pytest.raises(GateShut, match="pause-budget"):
            await keeper.wait_at("a", Gate.RESUME)
        assert (keeper.gave_up.code, keeper.gave_up.member) == ("pause-budget-exceeded", "b")

    asyncio.run(work())


# --- the record -----------------------------------------------------------------------------------

RECORD = GroupRecord("g", "r1", GroupState.BEGUN, (GroupMember("db", "t", "key", "", "/a"),), 5)


def test_a_record_comes_back_as_it_was_written(tmp_path):
    """And decides for its own run only."""
    groups = GroupStore(tmp_path / "groups")
    assert groups.find("g") is None
    assert not groups.is_committed(GroupRun("g", "r1", "db"))
    groups.write(RECORD)
    assert groups.find("g") == RECORD
    assert not groups.is_committed(GroupRun("g", "r1", "db"))
    assert groups.decide(RECORD, GroupState.COMMITTED)
    assert groups.is_committed(GroupRun("g", "r1", "db"))
    assert not groups.is_committed(GroupRun("g", "r2", "db")), "another run of that name"
    assert groups.path("g").stat().st_mode & 0o777 == 0o600
    groups.remove("g")
    assert groups.known() == ((), ())


def test_a_record_that_cannot_be_read_decides_nothing(tmp_path):
    """Neither for nor against: recovery stops there."""
    groups = GroupStore(tmp_path / "groups")
    groups.write(RECORD)
    groups.path("g").write_text("{}")
    with pytest.raises(BadInput):
        groups.is_committed(GroupRun("g", "r1", "db"))
    assert [problem.code for problem in groups.known()[1]] == ["group-malformed"]


@pytest.mark.parametrize("placed", [False, True], ids=["not-there", "in-its-place"])
def test_a_commit_that_fails_is_none_whatever_it_has_written(tmp_path, monkeypatch, placed):
    """The record may be in its place when its folder cannot be synced: it goes away again."""
    groups = GroupStore(tmp_path / "groups")
    groups.write(RECORD)

    def failing(path, text):
        if placed:
            path.write_text(text)
        raise OSError(5, "no disk")

    monkeypatch.setattr("planner.group.records.write_whole", failing)
    assert not groups.decide(RECORD, GroupState.COMMITTED)
    assert not groups.is_committed(GroupRun("g", "r1", "db"))


# --- the file -------------------------------------------------------------------------------------


def test_a_file_says_who_and_how_long():
    """The pause budget in ms or s."""
    found = read_group(f"{FILE}pause-budget: 500 ms\n")
    assert (found.group, found.pause_budget_ms) == ("g", 500.0)
    [(name, line)] = found.members
    assert (name, line.vm, line.request, line.design) == ("db", "/a", "r.yaml", "auto")
    assert read_group(f"{FILE}pause-budget: 1.5 s\n").pause_budget_ms == 1500.0
    assert read_group(FILE).pause_budget_ms == 0.0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[]", "group-shape"),
        ("members: {db: {vm: /a, request: r}}", "key-missing"),
        ("group: g", "key-missing"),
        ("group: g\nmembers: {}", "key-missing"),
        ("group: '7'\nmembers: {db: {vm: /a, request: r}}", "tag-all-digits"),
        ("group: g\nmembers: {db: {vm: /a}}", "key-missing"),
        ("group: g\nmembers: {db: {vm: '', request: r}}", "address-malformed"),
        (f"{FILE}more: 1", "key-unknown"),
        (f"{FILE}pause-budget: 500", "value-wrong"),
        (f"{FILE}pause-budget: 0 ms", "value-wrong"),
        (f"{FILE}pause-budget: 2 h", "value-wrong"),
    ],
)
def test_what_is_no_group_is_refused(text, code):
    """With everything that is wrong."""
    with pytest.raises(BadInput) as error:
        read_group(text)
    assert code in {problem.code for problem in error.value.problems}, error.value.problems


def test_the_schema_of_a_group_is_the_one_that_reads_it():
    """It is made of what the reader is made of; `SNAPPLAN_UPDATE_GOLDEN=1` writes it anew."""
    text = json.dumps(group_schema(), indent=2) + "\n"
    path = Path("specs/schemas/group-file.schema.json")
    if os.environ.get("SNAPPLAN_UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text
