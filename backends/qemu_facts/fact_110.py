"""Fact 110: an image opened by descriptor."""

import os
from pathlib import Path

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, holds, same
from backends.qemu_facts.steps.images import (
    place,  # noqa: F401 - a resource
    shown,
)


@experiment()
def an_image_by_descriptor_and_what_the_process_has_open(place):
    """The set's descriptors and one more are of the file; with the set's gone the node's is left."""
    path = place.image("a.qcow2")
    passed = [os.open(path, flags) for flags in (os.O_RDWR, os.O_RDONLY)]
    try:
        sets = [word for fd in passed for word in ("-add-fd", f"fd={fd},set=7")]
        place.start(
            *sets,
            *("-drive", "if=none,id=A,file=/dev/fdset/7,format=qcow2"),
            descriptors=passed,
        )
    finally:
        for descriptor in passed:
            os.close(descriptor)
    found("/dev/fdset/7", shown(place).values())
    folder = Path(f"/proc/{place.process.pid}/fd")

    def ours():
        return {int(each.name) for each in folder.iterdir() if each.samefile(path)}

    [told] = place.qmp.execute("query-fdsets")
    listed = {each["fd"] for each in told["fds"]}
    same((told["fdset-id"], len(listed)), (7, 2))
    holds(listed < ours())
    place.qmp.execute("remove-fd", **{"fdset-id": 7})
    holds(ours())
    same([each["fdset-id"] for each in place.qmp.execute("query-fdsets")], [7])


if __name__ == "__main__":
    run_by_hand(globals())
