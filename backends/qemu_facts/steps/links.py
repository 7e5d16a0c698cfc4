"""A guest's serial port as a unix socket: its link."""

import contextlib
import socket


def port(name):
    """A port of that name at which QEMU listens."""
    return (
        *("-chardev", f"socket,id={name},path={name},server=on,wait=off"),
        *("-serial", f"chardev:{name}"),
    )


PORT = port("com1")
"""The first one."""


def connected(vm, name="com1"):
    """The other end of its link."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.connect(str(vm.directory / name))
    return contextlib.closing(link)


def is_cut(vm):
    """Whether nobody is at the other end of the first port's link."""
    [link] = [each for each in vm.execute("query-chardev") if each["label"] == "com1"]
    return link["filename"].startswith("disconnected")
