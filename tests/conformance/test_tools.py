"""What public tools send around snapshots has the same replies from the simulator and from real QEMU."""

import os
import re
from pathlib import Path

import pytest
import yaml

from planner.semantics import profile_of
from tests.model import target as simulated
from tests.support.qemu import qemu_version
from tests.support.qmp import QmpError
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu
SEQUENCES = Path(__file__).parents[1] / "data" / "tool_sequences.yaml"
EVERY = yaml.safe_load(SEQUENCES.read_text())
TOOLS = {each["name"]: each for each in EVERY if "only-check" not in each}
BY_CHANCE = (
    (r"\d+(\.\d+)? ([KMGT]i)?B", "SIZE"),
    (r"\d{4}-\d\d-\d\d", "DATE"),
    (r"\d\d(\d\d)?:\d\d:\d\d(\.\d+)?", "TIME"),
    (r" +", " "),
)
NO_MATTER = {"vm-state-size", "date-sec", "date-nsec", "vm-clock-sec", "vm-clock-nsec", "offset"}
"""What is of a run, or of the bytes that a job happened to have copied."""


def topology_of(tool):
    """The VM that the tool has: `drive0` is a -drive's id, `disk0` a node."""
    count = tool.get("disks", 2)
    if not tool.get("drives"):
        return Topology(tuple(DiskSpec(f"disk{number}") for number in range(count)))
    return Topology(tuple(DiskSpec(f"drive{n}", DiskKind.DRIVE) for n in range(count)))


def steady(value):
    """A reply without what only one run has."""
    if isinstance(value, dict):
        return {name: steady(each) for name, each in value.items() if name not in NO_MATTER}
    if isinstance(value, list):
        return [steady(each) for each in value]
    for pattern, word in BY_CHANCE if isinstance(value, str) else ():
        value = re.sub(pattern, word, value)
    return value


def filled(value, vm):
    """Arguments with the paths of new images in their places."""
    if isinstance(value, dict):
        return {name: filled(each, vm) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, vm) for each in value]
    if isinstance(value, str) and (made := re.fullmatch(r"\{path:(.*)\}", value)):
        return str(vm.directory / f"{made[1]}.qcow2")
    found = re.fullmatch(r"\{image:(.*)\}", value) if isinstance(value, str) else None
    return str(vm.create_image(f"{found[1]}.qcow2")) if found else value


def said(vm, step):
    """What one step is answered; a wait, what was waited for."""
    if "wait" in step:
        vm.wait_until(lambda: came(vm, step["wait"]) >= step.get("times", 1), step["wait"])
        return step["wait"]
    if "job" in step:
        vm.wait_event(
            "JOB_STATUS_CHANGE",
            lambda data: data == {"status": "concluded", "id": step["job"]},
        )
        return steady(vm.job(step["job"]))
    try:
        return steady(vm.execute(step["execute"], filled(step.get("arguments", {}), vm)))
    except QmpError as error:
        return error.error_class, error.desc


def came(vm, name):
    vm.qmp.drain()
    return sum(event["event"] == name for event in vm.events)


@pytest.fixture
def simulator(monkeypatch):
    """Simulated QEMUs of the version under test."""
    version = ".".join(map(str, qemu_version()))
    if profile_of(version).version[:2] != qemu_version():
        pytest.skip(f"QEMU {version} is not modelled")
    monkeypatch.setitem(os.environ, "SNAPPLAN_SIMULATED_QEMU", profile_of(version).name)
    target = simulated.SimulatorTarget()
    yield target
    target.close()


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_hears_the_same_from_both(qemu, simulator, name):
    """Every reply and refusal of its sequence, word by word, but for dates, clocks and sizes."""
    tool = TOOLS[name]
    vms = [target.start(topology_of(tool)) for target in (qemu, simulator)]
    for step in tool["program"]:
        real, model = (said(vm, step) for vm in vms)
        assert model == real, step


def test_every_sequence_names_its_source():
    """And is one of several tools."""
    assert all(tool["source"] for tool in EVERY)
    assert len({tool["source"] for tool in TOOLS.values()}) >= 8
    assert len({tool["source"] for tool in EVERY}) >= 20
