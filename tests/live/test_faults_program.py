"""The program itself, stopped by its user or left waiting by QEMU, at a step that a gate holds."""

import contextlib
import json
import os
import signal
import subprocess

import pytest

from tests.live.faults import STEPS, Account, assert_nothing_left, request, start
from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN

pytestmark = pytest.mark.real_qemu

TIMEOUT_S = 120


@contextlib.contextmanager
def applying(vm, tmp_path, design, held, *more):
    """`snapplan apply` as a program, waiting at a command that QEMU has not got yet."""
    file = tmp_path / "request.yaml"
    file.write_text(request())
    with Gate(vm, held) as gate:
        arguments = [SNAPPLAN, "apply", file, "--vm", gate.path, "--design", design, "--json"]
        with subprocess.Popen(
            [*arguments, *more],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                gate.wait_arrived()
                yield process, gate
            finally:
                process.kill()


def ended(process, more_stderr="") -> Account:
    """How it ended; its standard output may be nothing at all."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    return Account(process.returncode, json.loads(out) if out else {}, more_stderr + err)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("design", "held", "number"),
    [*((*step, signal.SIGINT) for step in STEPS), (*STEPS[3], signal.SIGTERM)],
)
def test_interrupted_at_a_step(qemu, tmp_path, design, held, number):
    """The step in hand is finished, then everything is undone: exit 130, and the guest goes on."""
    vm = start(qemu)
    with applying(vm, tmp_path, design, held) as (process, gate):
        process.send_signal(number)
        gate.release()
        account = ended(process)
    assert (account.exit_code, account.code) == (130, "interrupted"), account
    assert "no part of the snapshot is left" in account.said["error"]["vm-state"]
    assert_nothing_left(vm)


def test_interrupted_before_the_first_step(qemu, tmp_path):
    """While the VM is only asked questions, Ctrl-C ends at once: nothing was sent."""
    vm = start(qemu)
    with applying(vm, tmp_path, "auto", "query-block") as (process, _gate):
        process.send_signal(signal.SIGINT)
        account = ended(process)
    assert account.exit_code == 130
    assert "Traceback" not in account.stderr
    assert_nothing_left(vm)


@pytest.mark.sample(1)
@pytest.mark.parametrize(("design", "held"), STEPS)
def test_deadline_passes_and_qemu_comes_back(qemu, tmp_path, design, held):
    """QEMU hangs past `--deadline`, then goes on: the late step is looked up and undone."""
    vm = start(qemu)
    with applying(vm, tmp_path, design, held, "--deadline", "0.5") as (process, gate):
        os.kill(vm.process.pid, signal.SIGSTOP)
        try:
            gate.release()
            said = process.stderr.readline()
        finally:
            os.kill(vm.process.pid, signal.SIGCONT)
        account = ended(process, said)
    assert said.startswith("snapplan: failed: step"), account
    assert (account.exit_code, account.code) == (20, "deadline-passed")
    assert_nothing_left(vm)
