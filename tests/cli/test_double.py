"""The simulator as a test double: sockets, a log, what it does not model, a fixture for pytest."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from backends.simulator import SimulatedVm
from planner.library.testing import simulated_qemu
from planner.semantics import schema_of, vm_state
from tests.support.qmp import QmpClient, QmpError

SNAPPLAN = Path(sys.executable).with_name("snapplan")
VERSIONS = ["7.2", "10.0", "11.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_query_without_arguments_has_an_answer(version):
    """What a tool asks before it does anything: each is answered, or refused in QEMU's words."""
    schema = schema_of(version)
    vm = SimulatedVm(vm_state(version, ["disk0"]))
    for name in schema.commands:
        if name.startswith("query-") and all("default" in m for m in schema.arguments(name)):
            delivery = vm.handle(name)
            assert "the simulator does not model" not in json.dumps(delivery.reply), name


def test_a_query_with_arguments_that_nobody_models_is_refused():
    vm = SimulatedVm(vm_state("10.0", ["disk0"]))
    reply = vm.handle("query-rx-filter", {"name": "net0"}).reply
    assert reply["error"]["desc"].startswith("the simulator does not model arguments")


def test_modelled_only_lists_what_is_answered():
    vm = SimulatedVm(vm_state("10.0", ["disk0"]), modelled_only=True)
    listed = {each["name"] for each in vm.execute("query-commands")}
    assert {"snapshot-save", "query-balloon", "transaction"} <= listed
    assert "blockdev-mirror" not in listed
    every = {each["name"] for each in SimulatedVm(vm.state).execute("query-commands")}
    assert "blockdev-mirror" in every
    assert listed < every


def test_sockets_of_one_vm_and_what_it_received():
    """Events go to both; the log has each command with its answer, by session."""
    with simulated_qemu(["disk0"], sockets=2) as vm:
        first, second = (QmpClient(socket) for socket in vm.sockets)
        first.execute("stop")
        second.wait_event("STOP")
        second.execute("human-monitor-command", {"command-line": "savevm t"})
        with pytest.raises(QmpError):
            first.execute("block-dirty-bitmap-remove", node="nope", name="b")
        assert vm.tags("disk0") == ["t"]
        assert vm.run_state == "paused"
        assert vm.commands() == ["stop", "human-monitor-command", "block-dirty-bitmap-remove"]
        stop, _, bitmap = vm.log
        assert stop["answer"] == {"return": {}}
        assert stop["events"] == ["STOP"]
        assert bitmap["answer"]["error"]["desc"] == "Node 'nope' not found"
        assert stop["session"] == bitmap["session"]
        with pytest.raises(KeyError):
            vm.tags("nowhere")
        for client in (first, second):
            client.close()
    assert not vm.is_alive()
    assert not vm.socket.exists()


def test_the_fixture_of_the_wheel(tmp_path):
    """As another project's tests have it; a fault strikes, and a killed QEMU is gone."""
    (tmp_path / "test_tool.py").write_text(
        textwrap.dedent("""
        import socket

        def test_tool(simulated_qemu):
            vm = simulated_qemu(["a", "b"], qemu="7.2")
            other = simulated_qemu(faults=[{"fault": "drop-before", "command": "stop"}])
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(vm.socket))
                lines = client.makefile("rw")
                assert '"minor": 2' in lines.readline()
                lines.write('{"execute": "qmp_capabilities"}{"execute": "stop", "id": 1}')
                lines.flush()
                lines.readline(), lines.readline()
                assert '"id": 1' in lines.readline()
            assert vm.commands() == ["stop"]
            assert other.socket != vm.socket
            vm.kill()
            vm.join(10)
        """)
    )
    plugin = ["-p", "planner.library.pytest_plugin"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_writes_a_log_and_listens_twice(tmp_path):
    """A new file, 0600; one that is there is left alone."""
    sockets, log = [tmp_path / "a", tmp_path / "b"], tmp_path / "log"
    words = [str(SNAPPLAN), "simulate", "--facts", "specs/examples/one-disk.facts.json"]
    words += [word for socket in sockets for word in ("--socket", str(socket))]
    words += ["--log", str(log), "--modelled-only"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as simulator:
        for socket in sockets:
            assert simulator.stderr.readline() == f"listening on {socket}\n"
        clients = [QmpClient(socket) for socket in sockets]
        clients[0].execute("system_reset")
        clients[1].execute("quit")
        assert simulator.wait(10) == 0
        for client in clients:
            client.close()
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [each["received"]["execute"] for each in entries] == ["system_reset", "quit"]
    assert log.stat().st_mode & 0o777 == 0o600
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (again.returncode, "file-unwritable" in again.stderr) == (2, True)
