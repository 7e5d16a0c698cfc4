"""Which events libvirt's callback has been given, and when: a program, for a process of its own.

    python3 -P heard.py URI DOMAIN COMMAND...

libvirt's Python module has one event loop in a process, which is turned here by hand: once behind
each command and one more question.  Printed is, for each command, what was heard by then: a JSON object
a line.
"""

import importlib
import json
import sys


def main(uri: str, name: str, commands: list[str]) -> None:
    """Send the commands one by one."""
    # Run with -P: the libvirt.py beside this file is not the one that is meant.
    libvirt, libvirt_qemu = map(importlib.import_module, ("libvirt", "libvirt_qemu"))
    libvirt.virEventRegisterDefaultImpl()
    libvirt.virEventAddTimeout(0, lambda *_: None, None)  # so that a turn never waits
    connection = libvirt.open(uri)
    domain = connection.lookupByName(name)
    heard: list[str] = []

    def hear(*given: object) -> None:  # connection, domain, event, seconds, micros, details, opaque
        heard.append(str(given[2]))

    libvirt_qemu.qemuMonitorEventRegister(connection, domain, None, hear, None)
    for command in commands:
        for each in (command, "query-status"):
            libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": each}), 0)
        libvirt.virEventRunDefaultImpl()
        print(json.dumps(heard), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
