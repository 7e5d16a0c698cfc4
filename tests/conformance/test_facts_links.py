"""Facts about links between guests: a serial port whose guest stands, and one that is loaded."""

import contextlib
import socket
import subprocess

import pytest

from tests.support.qemu import qemu_binary
from tests.support.talkers import counters, start_talker

pytestmark = pytest.mark.real_qemu

PORT = ("-chardev", "socket,id=com1,path=com1,server=on,wait=off", "-serial", "chardev:com1")


@pytest.fixture
def vm(qemu):
    """A guest whose first serial port is a socket that nobody reads; it is full."""
    return start_talker(qemu, PORT, ("-serial", "null"), paused=True)


def connected(vm):
    """The other end of its link."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.connect(str(vm.directory / "com1"))
    return contextlib.closing(link)


def test_fact_119_what_is_under_way_at_a_load_reaches_the_loaded_guest(qemu):
    """A guest that is loaded in place receives what was sent to it after it was saved."""
    port = tuple(word.replace("com1", "com2") for word in PORT)
    vm = start_talker(qemu, ("-serial", "null"), port)
    vm.wait_guest(2)
    vm.execute("stop")
    assert vm.save("a", ["disk0"]) is None
    received = counters(vm).received
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as link:
        link.connect(str(vm.directory / "com2"))
        link.sendall(bytes(100))
        assert vm.load("a", ["disk0"]) is None
        assert counters(vm).received == received
        vm.execute("cont")
        vm.wait_until(lambda: counters(vm).received > received, "bytes of another time")


def test_fact_127_a_link_to_nobody_ends_qemu_that_starts(qemu, tmp_path):
    """It says why; with `reconnect` it starts, and the link is not connected."""
    nobody = ("-chardev", "socket,id=com1,path=nobody", "-serial", "chardev:com1")
    alone = (qemu_binary(), "-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", *nobody)
    ended = subprocess.run(alone, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Failed to connect to 'nobody': No such file or directory" in ended.stderr
    again = tuple(word.replace("nobody", f"nobody,{reconnecting(qemu)}") for word in nobody)
    assert is_cut(start_talker(qemu, again, paused=True))


def reconnecting(qemu):
    """The option was renamed in 9.2, and its old name is gone in 11."""
    return "reconnect-ms=1000" if qemu.version() >= (10, 0) else "reconnect=1"


def is_cut(vm):
    """Whether nobody is at the other end of the port's link."""
    [link] = [each for each in vm.execute("query-chardev") if each["label"] == "com1"]
    return link["filename"].startswith("disconnected")
