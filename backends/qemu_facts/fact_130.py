"""Fact 130: libvirt hands an event out before it answers the next question."""

import json
import subprocess
import sys

from backends.qemu_facts.lab import heard
from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import NotRun, same
from backends.qemu_facts.steps.domains import domain  # noqa: F401 - a resource

ROUNDS = 20


@experiment()
def every_event_is_there_after_one_more_question(domain):
    """Those that QEMU sent before its reply; the event loop has turned once."""
    words = [domain.daemon.uri, domain.name, *("stop", "cont") * ROUNDS]
    done = subprocess.run(
        [sys.executable, "-P", heard.__file__, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "No module named" in done.stderr:
        raise NotRun("needs libvirt's Python module")
    same((done.returncode, done.stderr), (0, ""))
    found = [json.loads(line) for line in done.stdout.splitlines()]
    events = ["STOP", "RESUME"] * ROUNDS
    same(found, [events[: number + 1] for number in range(len(events))])


if __name__ == "__main__":
    run_by_hand(globals())
