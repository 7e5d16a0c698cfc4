"""Runs snapplan for tests that run it many times: it is loaded once, and each run is a fork of that.

Most of what a short command costs is Python's start and its imports, and a run of all tests starts
more than a thousand.  Each fork is a process of its own, with the pid, the descriptors, the environment,
the folder and the umask that a started one would have, and ends as one.  Its coverage is measured where
a started one's would be.

`python -P fork_server.py N` serves on descriptor N until its other end, `tests.support.forked`,
is closed.
"""

import gc
import importlib
import json
import os
import pkgutil
import selectors
import socket
import sys

import coverage

REQUEST_BYTES = 1 << 20
MEASURED = {"COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"}
_STANDARD = (0, 1, 2)


def load_all():
    """Import what any command may need, and keep it out of the way of the garbage collector."""
    for name in ("planner", "backends"):
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    for name in (
        "networkx",
        "qemu.qmp",
        "rich.progress",
        "rich.table",
        "rich.tree",
        "xml.etree.ElementTree",
        "yaml",
    ):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def serve(control):
    """Fork for each request; returns in the forks alone, with the arguments of the command."""
    waiting = {}
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not control:
                selector.unregister(key.fileobj)
                pid, answer = waiting.pop(key.fileobj)
                os.close(key.fileobj)
                _, status = os.waitpid(pid, 0)
                os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
                os.close(answer)
                continue
            said, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, 4)
            if not said:
                sys.exit()
            *standard, answer = descriptors
            pid = os.fork()
            if not pid:
                for _, held in waiting.values():
                    os.close(held)
                selector.close()
                control.close()
                os.close(answer)
                return become(json.loads(said), standard)
            for each in standard:
                os.close(each)
            pidfd = os.pidfd_open(pid)
            waiting[pidfd] = (pid, answer)
            selector.register(pidfd, selectors.EVENT_READ)


def become(request, standard):
    """Be the process that the request asks for; its arguments."""
    for source, target in zip(standard, _STANDARD, strict=True):
        os.dup2(source, target)
        os.close(source)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.umask(request["umask"])
    os.chdir(request["folder"])
    if os.environ.keys() & MEASURED:
        coverage.process_startup(slug="fork")
    return request["arguments"]


if __name__ == "__main__":
    load_all()
    sys.argv = serve(socket.socket(fileno=int(sys.argv[1])))
    from snapplan.__main__ import main

    main()
