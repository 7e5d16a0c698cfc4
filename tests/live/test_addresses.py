"""The sockets that people give: as QEMU spells them, over IPv6, pretty, in use; on a real QEMU."""

import os
import signal
import socket

import pytest

from backends.held_socket import serves_somebody
from tests.live.runs import as_json, request_text, snapplan
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu


def free_port(family, host):
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def run_state(*where):
    done = snapplan("inspect", *where, "--json")
    assert done.returncode == 0, done.stderr
    return as_json(done)["run-state"]


def refused(*where):
    done = snapplan("list", *where, "--json")
    assert done.returncode == 12, done.stdout
    return as_json(done)["error"]["code"]


@pytest.mark.parametrize(
    ("family", "host", "spelled"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1:{}"),
        (socket.AF_INET, "127.0.0.1", "tcp:127.0.0.1:{},server=on,wait=off"),
        (socket.AF_INET6, "::1", "[::1]:{}"),
        (socket.AF_INET6, "::1", "tcp:[::1]:{},server=on"),
    ],
)
def test_tcp_addresses(qemu, family, host, spelled):
    """Spelled as at QEMU's own option, or without what is QEMU's affair; a second client is told."""
    port = free_port(family, host)
    place = f"socket,id=tcp,host={host},port={port},server=on,wait=off"
    options = ("-chardev", place, "-mon", "chardev=tcp,mode=control")
    qemu.start(two_disks(extra_args=options))
    assert run_state("--vm", spelled.format(port)) == "running"
    with socket.create_connection((host, port)) as other:
        assert b"QMP" in other.recv(4096)
        assert refused("--vm", spelled.format(port)) == "socket-busy"


def test_a_pretty_socket_is_a_socket(qemu, tmp_path):
    """QEMU spreads each message over many lines there."""
    vm = qemu.start(two_disks())
    pretty = vm.directory / "pretty"
    vm.end()
    vm = qemu.run(vm, two_disks(), "-qmp-pretty", f"unix:{pretty},server=on,wait=off")
    where = ("--vm", pretty, "--store", tmp_path / "store")
    assert run_state("--vm", pretty) == "running"
    text = request_text("a", ["disk0", "disk1"], "disk0")
    assert snapplan("apply", "-", *where, text=text).returncode == 0
    assert snapplan("verify", "a", *where).returncode == 0


@pytest.mark.long
def test_a_hung_qemu_is_not_a_busy_socket(qemu):
    """Who holds the socket is told from who does not answer."""
    vm = qemu.start(two_disks())
    pid = vm.process.pid
    assert refused("--vm", vm.directory / "qmp") == "socket-busy"
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not serves_somebody(str(vm.qmp_path))
        assert refused("--vm", vm.qmp_path) == "no-greeting"
        assert not serves_somebody(str(vm.qmp_path))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert run_state("--vm", vm.qmp_path) == "running"
    other = vm.connect()
    try:
        assert serves_somebody(str(vm.qmp_path))
        assert refused("--vm", vm.qmp_path) == "socket-busy"
    finally:
        other.close()
    assert run_state("--vm", vm.qmp_path) == "running"
