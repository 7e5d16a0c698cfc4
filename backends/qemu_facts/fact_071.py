"""Fact 71: which files QEMU has open."""

import os
from pathlib import Path

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, holds
from backends.qemu_facts.steps.images import (
    opened,
    place,  # noqa: F401 - a resource
    shown,
)

_GONE = " (deleted)"


@experiment()
def relative_names_and_the_files_that_are_open(place):
    """The name is as it was given; the process has the very file open."""
    path = place.image("a.qcow2")
    place.start("-drive", "if=none,id=A,file=./a.qcow2,format=qcow2")
    found("./a.qcow2", shown(place).values())
    holds(any(os.path.samestat(found, path.stat()) for found in opened(place).values()))


@experiment()
def files_of_snapshot_have_no_name(place):
    """`-snapshot` puts an overlay over each disk, in a file that is unlinked at once."""
    path = place.image("a.qcow2")
    place.start("-snapshot", "-drive", f"if=none,id=A,file={path},format=qcow2")
    gone = [Path(name.removesuffix(_GONE)) for name in opened(place) if name.endswith(_GONE)]
    [file] = [name for name in shown(place).values() if Path(name).name in {g.name for g in gone}]
    holds(Path(file).name.startswith("vl."))
    holds(not any(path.exists() for path in gone))


if __name__ == "__main__":
    run_by_hand(globals())
