"""What must hold for every sequence of commands, found by hypothesis."""

from hypothesis import given, settings
from hypothesis import strategies as st

from planner.semantics import (
    DiskDescription,
    InjectedFailure,
    advance,
    execute,
    guest_step,
    start,
    vm_state,
)

NAMES = ("disk0", "disk1", "thr0", "thr0-format", "raw0", "df0", "drv0", "nope")
TAGS = st.sampled_from(("a", "b", "1", "2", ""))
DEVICES = st.lists(st.sampled_from(NAMES), max_size=3)
VERSIONS = st.sampled_from(("7.2", "10.0", "11.1"))


def fresh(version="7.2"):
    kinds = {"thr0": "throttle", "raw0": "raw", "df0": "data-file", "drv0": "drive"}
    disks = [DiskDescription(n, kinds.get(n, "qcow2")) for n in ("disk0", "disk1", *kinds)]
    return vm_state(version, disks)


@st.composite
def commands(draw):
    kind = draw(st.sampled_from(("save", "load", "delete", "transaction", "one", "stop", "cont")))
    if kind in {"save", "load", "delete"}:
        devices = draw(DEVICES)
        arguments = {"job-id": "j", "tag": draw(TAGS), "devices": devices}
        if kind != "delete":
            arguments["vmstate"] = draw(st.sampled_from(NAMES))
        return f"snapshot-{kind}", arguments
    if kind == "transaction":
        return "transaction", {"actions": draw(st.lists(actions(), max_size=4))}
    if kind == "one":
        arguments = {"device": draw(st.sampled_from(NAMES)), "name": draw(TAGS)}
        return "blockdev-snapshot-delete-internal-sync", arguments
    return kind, {}


@st.composite
def actions(draw):
    if draw(st.integers(0, 5)) == 0:
        return {"type": "abort", "data": {}}
    data = {"device": draw(st.sampled_from(NAMES)), "name": draw(TAGS)}
    return {"type": "blockdev-snapshot-internal-sync", "data": data}


def run(state, sequence):
    """Every state and result of a sequence; jobs are dismissed, and a dead QEMU ends it."""
    for name, arguments in sequence:
        if state.died:
            return
        before = guest_step(state)
        result = execute(before, name, arguments)
        yield before, name, arguments, result
        state = result.state
        if state.job("j") and not state.died:
            state = execute(state, "job-dismiss", {"id": "j"}).state


def layers(state):
    return {node.name: node.layer for node in state.graph.nodes}


@settings(deadline=None, max_examples=150)
@given(VERSIONS, st.lists(commands(), max_size=8))
def test_a_refused_command_and_a_failed_transaction_change_nothing(version, sequence):
    for before, name, _, result in run(fresh(version), sequence):
        if result.error is not None:
            assert result.state == before
            assert hash(result.state) == hash(before)
        elif name == "transaction":
            assert result.reply == {}


@settings(deadline=None, max_examples=150)
@given(VERSIONS, st.lists(commands(), max_size=8))
def test_ids_are_unique_in_an_image_and_a_new_one_is_the_largest(version, sequence):
    for before, _, _, result in run(fresh(version), sequence):
        for name, layer in layers(result.state).items():
            ids = [int(s.id) for s in layer.snapshots]
            assert len(set(ids)) == len(ids)
            old = {s.id for s in before.graph.node(name).layer.snapshots}
            new = [int(i) for i in (s.id for s in layer.snapshots) if i not in old]
            assert all(n > max(map(int, old), default=0) for n in new)


@settings(deadline=None, max_examples=150)
@given(VERSIONS, st.lists(commands(), max_size=8))
def test_no_successful_save_leaves_machine_state_in_the_active_layer(version, sequence):
    for _, name, arguments, result in run(fresh(version), sequence):
        if name != "snapshot-save" or result.state.died or result.state.job("j").error:
            continue
        node = result.state.graph.node(arguments["vmstate"])
        image = result.state.graph.node(node.file) if node.driver == "throttle" else node
        assert image.layer.vmstate is None


@settings(deadline=None, max_examples=150)
@given(VERSIONS, st.lists(commands(), max_size=8))
def test_all_parts_of_one_job_are_of_one_instant(version, sequence):
    for before, name, _, result in run(fresh(version), sequence):
        if name != "snapshot-save":
            continue
        instants = set()
        for node, layer in layers(result.state).items():
            old = before.graph.node(node).layer.snapshots
            instants |= {(s.instant, s.vm_clock_ns) for s in layer.snapshots if s not in old}
        assert len(instants) <= 1


@settings(deadline=None, max_examples=100)
@given(VERSIONS, st.lists(commands(), max_size=6))
def test_the_same_commands_give_an_equal_state_with_an_equal_hash(version, sequence):
    ends = [fresh(version), fresh(version)]
    for number, state in enumerate(ends):
        for _, _, _, result in run(state, sequence):
            ends[number] = result.state
    assert ends[0] == ends[1]
    assert hash(ends[0]) == hash(ends[1])


@settings(deadline=None, max_examples=150)
@given(VERSIONS, commands(), st.integers(0, 12))
def test_a_step_that_fails_ends_the_command_and_never_the_model(version, command, where):
    state = start(guest_step(fresh(version)), *command).state
    taken = 0
    while state.pending:
        state = advance(state, InjectedFailure() if taken == where else None).state
        taken += 1
        assert taken < 100
    assert not state.pending
    for job in state.jobs:
        assert job.status == "concluded" or state.died


@settings(deadline=None, max_examples=100)
@given(VERSIONS, st.lists(commands(), max_size=6))
def test_a_guest_step_changes_the_state_exactly_while_the_guest_runs(version, sequence):
    for _, _, _, result in run(fresh(version), sequence):
        state = result.state
        assert (guest_step(state) != state) is (state.running and not state.died)
