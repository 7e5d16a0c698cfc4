"""File systems frozen around a real QEMU's disk-only snapshot, by an agent that is not there.

What was when is judged from both sides: by the agent's own log and by QEMU, asked at each of the
agent's commands, and by a relay that sees what snapplan sends.
"""

import json
import signal
import subprocess

import pytest

from tests.live.faults import Account, assert_guest_unharmed, assert_nothing_left, start
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json, held, request_text, snapplan
from tests.support.agent import FREEZE, STATUS, THAW, FakeAgent, Misbehaviour

pytestmark = pytest.mark.real_qemu

DISKS = ["disk0", "disk1"]
TIMEOUT_S = 120


def request(fake, at_most=60):
    freeze = f"{{agent: {fake.path}, at-most: {at_most}}}"
    return request_text("a", DISKS, freeze_filesystems=freeze)


def holding(tags):
    return dict.fromkeys(DISKS, tags)


def apply(vm, fake, at_most=60):
    done = snapplan("apply", "-", "--vm", vm.qmp_path, "--json", text=request(fake, at_most))
    return Account(done.returncode, as_json(done), done.stderr)


def test_both_disks_are_captured_between_the_freeze_and_the_thaw(qemu, tmp_path):
    """At the freeze QEMU holds no part yet, at the thaw both; and the transaction lies between."""
    vm = start(qemu)
    shown = {}
    with FakeAgent(tmp_path / "ga") as fake, Gate(vm) as relay:
        for command in (FREEZE, THAW):
            fake.before[command] = lambda command=command: shown.update({command: held(vm, DISKS)})
        done = snapplan("apply", "-", "--vm", relay.path, "--json", text=request(fake))
        assert done.returncode == 0, done.stderr
        assert fake.names == [STATUS, STATUS, FREEZE, THAW]
        assert not fake.frozen
        at = dict(fake.calls) | dict(relay.seen)
    assert shown == {FREEZE: holding([]), THAW: holding(["a"])}
    assert at[FREEZE] < at["transaction"] < at[THAW]
    assert [part["disk"] for part in as_json(done)["parts"]] == DISKS
    assert_guest_unharmed(vm)


AGENT_FAULTS = [
    (FREEZE, Misbehaviour.REFUSE, "agent-refused"),
    (FREEZE, Misbehaviour.DROP, "agent-silent"),
    (FREEZE, Misbehaviour.GARBAGE, "agent-silent"),
    (FREEZE, Misbehaviour.HANG, "agent-silent"),
    (THAW, Misbehaviour.REFUSE, "agent-refused"),
    (THAW, Misbehaviour.DROP, "agent-silent"),
    (THAW, Misbehaviour.NOTHING, "thawed-by-other"),
]


@pytest.mark.long
def test_whatever_the_agent_does_the_guest_is_thawed_and_no_part_is_left(qemu, tmp_path):
    """Exit 20: thawed, no snapshot, the guest running; also where there is no agent at all."""
    vm = start(qemu)
    for number, (command, what, code) in enumerate(AGENT_FAULTS):
        with FakeAgent(tmp_path / f"ga{number}", script={command: [what]}) as fake:
            account = apply(vm, fake, at_most=3)
            assert (account.exit_code, account.code) == (20, code), (command, what, account)
            assert not fake.frozen, (command, what)
            assert held(vm, DISKS) == holding([]), (command, what)
            assert vm.status() == "running", (command, what)
    account = apply(vm, fake)
    assert (account.exit_code, account.code) == (20, "agent-silent"), account
    assert_nothing_left(vm)


def test_an_agent_that_dies_while_frozen_leaves_an_undo_that_says_so(qemu, tmp_path):
    """Exit 21: no part is left, and the guest's user is told how to thaw."""
    vm = start(qemu)
    with FakeAgent(tmp_path / "ga", script={THAW: [Misbehaviour.DIE]}) as fake:
        account = apply(vm, fake)
    assert account.exit_code == 21, account
    assert "file-systems-frozen" in account.problem_codes
    assert_nothing_left(vm)


def at_the_transaction(vm, fake, tmp_path, act):
    """`snapplan apply` as a program; `act(process)` while QEMU has not got the transaction yet."""
    file = tmp_path / "request.yaml"
    file.write_text(request(fake, at_most=3))
    with Gate(vm, "transaction") as relay:
        arguments = [SNAPPLAN, "apply", file, "--vm", relay.path, "--json"]
        with subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                relay.wait_arrived()
                act(process)
                relay.release()
                out, err = process.communicate(timeout=TIMEOUT_S)
            finally:
                process.kill()
    return Account(process.returncode, json.loads(out), err)


@pytest.mark.long
def test_a_qemu_that_hangs_does_not_keep_the_guest_frozen(qemu, tmp_path):
    """After the time that was allowed the guest is thawed, and what QEMU does late is undone."""
    vm = start(qemu)
    with FakeAgent(tmp_path / "ga") as fake:
        account = at_the_transaction(vm, fake, tmp_path, lambda _: fake.wait_for(THAW))
        assert (account.exit_code, account.code) == (20, "frozen-too-long"), account
        assert not fake.frozen
    assert_nothing_left(vm)


def test_a_user_who_stops_the_run_finds_the_guest_thawed(qemu, tmp_path):
    """Ctrl-C while the file systems are frozen: exit 130, everything as before."""
    vm = start(qemu)
    with FakeAgent(tmp_path / "ga") as fake:
        stop = signal.SIGINT
        account = at_the_transaction(vm, fake, tmp_path, lambda run: run.send_signal(stop))
        assert (account.exit_code, account.code) == (130, "interrupted"), account
        assert not fake.frozen
    assert_nothing_left(vm)
