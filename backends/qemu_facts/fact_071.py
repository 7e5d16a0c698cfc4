"""Fact 71: which files QEMU has open."""

import os
from pathlib import Path

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, holds, same
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
def by_a_name_that_leads_nowhere_it_is_not_opened_again(place):
    """As after `-daemonize`: what makes the nodes inactive opens the image again, and fails."""
    (place.path / "before").mkdir()
    place.image("before/a.qcow2")
    place.start("-drive", "if=virtio,file=before/a.qcow2,format=qcow2")
    (place.path / "before").rename(place.path / "after")
    events = [{"capability": "events", "state": True}]
    place.qmp.execute("migrate-set-capabilities", capabilities=events)
    mark = place.qmp.mark()
    place.qmp.execute("migrate", uri="exec:cat > /dev/null")
    ended = ("completed", "failed")
    event = place.qmp.wait_event("MIGRATION", lambda data: data["status"] in ended, since=mark)
    same(event["data"]["status"], "failed")


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
