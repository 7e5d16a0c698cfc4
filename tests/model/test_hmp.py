"""savevm, loadvm, delvm, info snapshots: the simulated QEMU answers as the real one, to the letter."""

import re

import pytest

from planner.experiment.lockstep.shown import view, without_sizes
from planner.experiment.lockstep.sides import RealSide, SimulatedSide
from tests.support.qemu import qemu_version, start_qemu
from tests.support.topology import DiskKind, DiskSpec, Topology

KINDS = {"disk0": DiskKind.QCOW2, "drv0": DiskKind.DRIVE, "ro0": DiskKind.READ_ONLY}
SNAPSHOT = "blockdev-snapshot-internal-sync"
STEPS = (
    *("info snapshots", "loadvm", "delvm", "loadvm nope", "delvm nope", "savevm t", "savevm t"),
    *("info snapshots", "cont", "savevm 1", "savevm u", "info status", "loadvm t", "loadvm nope"),
    *("info status", "cont", "stop", "loadvm u", (SNAPSHOT, {"device": "disk0", "name": "part"})),
    *("info snapshots", "loadvm part", "savevm part", "info snapshots", "delvm part", "delvm t"),
    ("snapshot-save", {"job-id": "j", "tag": "u", "vmstate": "disk0", "devices": ["disk0"]}),
    *("info snapshots", "savevm u", "info snapshots", "savevm a b", "system_reset", "loadvm u"),
    "savevm " + "x" * 260,
    *("delvm u", "delvm u", "info snapshots"),
)
VOLATILE = (
    (re.compile(r" *[0-9.e+]+ ([KM]i)?B"), " SIZE"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "DATE"),
    (re.compile(r"\d{2,4}:\d\d:\d\d\.\d{3}"), "CLOCK"),
)


def without_measures(outcome):
    """Sizes, dates and clocks are another machine's; their columns are compared."""
    kind, *words = without_sizes(outcome)
    if kind == "return" and isinstance(words[0], str):
        for pattern, word in VOLATILE:
            words[0] = pattern.sub(word, words[0])
    return kind, words


def step_of(step):
    return step if isinstance(step, tuple) else ("human-monitor-command", {"command-line": step})


def simulated_side(kinds):
    return SimulatedSide("{}.{}".format(*qemu_version()), 0, kinds)


@pytest.mark.real_qemu
def test_what_the_human_monitor_says_of_snapshots_is_the_same():
    """Every reply, every event, and all that can be seen of the VM afterwards."""
    topology = Topology(disks=tuple(DiskSpec(*each) for each in KINDS.items()), memory_mib=16)
    with start_qemu(topology) as vm:
        real, simulated = RealSide(vm), simulated_side(KINDS)
        for command, arguments in map(step_of, STEPS):
            expected, found = real.run(command, arguments), simulated.run(command, arguments)
            assert without_measures(found[0]) == without_measures(expected[0]), arguments
            assert found[1] == expected[1], arguments
            assert view(simulated) == view(real), arguments


@pytest.mark.real_qemu
@pytest.mark.parametrize("command", ["savevm t", "loadvm t", "delvm t", "info snapshots"])
def test_a_disk_without_snapshots_stops_each_of_them(command):
    """One writable raw disk, and QEMU says which; `info snapshots` goes on."""
    kinds = {**KINDS, "raw0": DiskKind.RAW}
    topology = Topology(disks=tuple(DiskSpec(*each) for each in kinds.items()), memory_mib=16)
    with start_qemu(topology) as vm:
        real, simulated = RealSide(vm), simulated_side(kinds)
        arguments = {"command-line": command}
        expected = real.run("human-monitor-command", arguments)
        assert simulated.run("human-monitor-command", arguments) == expected
        assert view(simulated) == view(real)
