"""A guest's first serial port as a unix socket: its link."""

import contextlib
import socket

PORT = ("-chardev", "socket,id=com1,path=com1,server=on,wait=off", "-serial", "chardev:com1")


def connected(vm):
    """The other end of its link."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.connect(str(vm.directory / "com1"))
    return contextlib.closing(link)


def is_cut(vm):
    """Whether nobody is at the other end of the port's link."""
    [link] = [each for each in vm.execute("query-chardev") if each["label"] == "com1"]
    return link["filename"].startswith("disconnected")
