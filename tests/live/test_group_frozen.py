"""Groups of frozen guests: all are frozen before the first stops, thawed after the last capture."""

import subprocess
from collections import deque
from contextlib import ExitStack

import pytest

from tests.live.faults import assert_nothing_left, start
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json, request_text, snapplan
from tests.support.agent import FREEZE, THAW, FakeAgent, Misbehaviour

pytestmark = [pytest.mark.real_qemu, pytest.mark.long]  # sibling: tests/unit/test_frozen_pause.py

NAMES = ("db", "web")


def group_file(folder, vms, agents):
    """Disks alone of guests that stand meanwhile, frozen by these agents."""
    lines = []
    for name, at in vms.items():
        freeze = f"{{agent: {agents[name].path}, at-most: 60}}"
        text = request_text("a", ["disk0", "disk1"], pause="always", freeze_filesystems=freeze)
        (folder / f"{name}.yaml").write_text(text)
        lines.append(f"  {name}: {{vm: {at}, request: {name}.yaml}}\n")
    path = folder / "group.yaml"
    path.write_text(f"group: together\nmembers:\n{''.join(lines)}")
    return path


def agents_of(folder, stack, **scripts):
    return {
        name: stack.enter_context(FakeAgent(folder / f"{name}-ga", script=scripts.get(name)))
        for name in NAMES
    }


def test_all_are_frozen_before_the_first_stops_and_thawed_after_the_last_capture(qemu, tmp_path):
    """In a run that is whole; then one whose second agent refuses: both are thawed, nothing is left."""
    vms, store = {name: start(qemu) for name in NAMES}, tmp_path / "store"
    with ExitStack() as stack:
        agents = agents_of(tmp_path, stack)
        relays = {name: stack.enter_context(Gate(vm)) for name, vm in vms.items()}
        at = {name: relay.path for name, relay in relays.items()}
        file = group_file(tmp_path, at, agents)
        done = snapplan("group", "apply", file, "--store", store, "--json")
        assert done.returncode == 0, done.stderr
        asked = [dict(agent.calls) for agent in agents.values()]
        sent = [dict(relay.seen) for relay in relays.values()]
        stops, captures = [[each[c] for each in sent] for c in ("stop", "transaction")]
        assert max(each[FREEZE] for each in asked) < min(stops)
        assert max(captures) < min(each[THAW] for each in asked)
        assert [agent.frozen for agent in agents.values()] == [0, 0]
        gone = snapplan("group", "delete", "together", "--yes", "--store", store)
        assert gone.returncode == 0, gone.stderr
        agents["web"].script[FREEZE] = deque([Misbehaviour.REFUSE])
        failed = snapplan("group", "apply", file, "--store", store, "--json")
        assert (failed.returncode, as_json(failed)["error"]["code"]) == (20, "agent-refused")
        assert [agent.frozen for agent in agents.values()] == [0, 0]
    for vm in vms.values():
        assert_nothing_left(vm)


@pytest.mark.parametrize("command", ["stop", "transaction", "cont"])
def test_recover_thaws_all_whoever_is_killed(qemu, tmp_path, command):
    """SIGKILL of snapplan while both are frozen, and guests stand: recover lets them run, and thaws."""
    vms, store = {name: start(qemu) for name in NAMES}, tmp_path / "store"
    with ExitStack() as stack:
        agents = agents_of(tmp_path, stack)
        with Gate(vms["web"], command) as held_back:
            file = group_file(tmp_path, {"db": vms["db"].qmp_path, "web": held_back.path}, agents)
            running = subprocess.Popen(
                [SNAPPLAN, "group", "apply", file, "--store", store],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            held_back.kill(running, after=False)
        assert all(agent.frozen for agent in agents.values())
        with Gate(vms["web"], "nothing"):
            done = as_json(snapplan("group", "recover", "together", "--store", store, "--json"))
        assert {each["end"] for each in done["recovered"]} == {"undone"}
        assert [agent.frozen for agent in agents.values()] == [0, 0]
    for vm in vms.values():
        assert_nothing_left(vm)
