"""Counterexamples of the explorer, run on real QEMU: the self-checking guest catches them too."""

from pathlib import Path

import pytest

from planner.explore.design_text import read_design
from planner.explore.laying import instructions_for
from planner.explore.search import explore
from planner.explore.setting_of import setting_of
from planner.explore.state import Act
from tests.model.exploring import facts_of, resolution_of, setting_for
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu

TRANSACTIONAL = Path("specs/designs/transactional.yaml").read_text(encoding="utf-8")
CONT = "  - name: cont\n    does: ResumeGuest\n"


def counterexample(setting, wanted):
    """The acts of a shortest run that violates a property, with the instructions' names."""
    found = next(v for v in explore(setting).violations if v.property_id == wanted)
    names = [instruction.name for instruction in setting.instructions]
    acts = [taken.action for taken in found.moves]
    return [
        names[action.first] if action.act is Act.SEND else action.act.name
        for action in acts
        if action.act in (Act.SEND, Act.GUEST, Act.FOREIGN_TAG)
    ]


def load_fails(vm, tag):
    """Load over both disks; what the guest complains of."""
    vm.execute("stop")
    loaded_at = len(vm.console())
    assert vm.load(tag, ["disk0", "disk1"]) is None
    vm.execute("cont")
    return vm.wait_guest_fails(since=loaded_at)


def test_guest_resumed_between_machine_state_and_the_other_disks(qemu):
    """`cont` before the transaction: the explorer's shortest run tears a real snapshot."""
    head, tail = TRANSACTIONAL.split("  - name: transaction\n")
    too_early = head + CONT + "  - name: transaction\n" + tail.replace(CONT, "")
    facts = facts_of(2)
    resolution = resolution_of(facts)
    instructions = instructions_for(read_design(too_early), resolution)
    run = counterexample(setting_of(resolution, instructions, "too-early", facts), "one-instant")
    assert [act for act in run if act != "GUEST"] == [
        "stop",
        "snapshot-save",
        "cont",
        "transaction",
    ]
    assert run.index("GUEST") > run.index("cont"), "the guest is what tears it"

    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    commands = {
        "stop": lambda: vm.execute("stop"),
        "snapshot-save": lambda: vm.save("torn", ["disk0"], "disk0"),
        "cont": lambda: vm.execute("cont"),
        "GUEST": lambda: vm.wait_guest(1, since=len(vm.console())),
        "transaction": lambda: vm.snapshot_disks("torn", "disk1"),
    }
    for act in ("stop", "snapshot-save", "cont", "GUEST", "transaction"):
        commands[act]()
    assert load_fails(vm, "torn").startswith("FAIL d81")


def test_tag_of_another_client_on_one_of_the_disks(qemu):
    """`snapshot-save` makes a second snapshot of the name, and a load takes the other client's."""
    setting = setting_for("monolithic", faults=1, other_clients=True)
    run = counterexample(setting, "loadable")
    assert run[0] == "FOREIGN_TAG"
    assert "snapshot-save" in run

    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    vm.execute("stop")
    vm.snapshot_disks("taken", "disk1")
    vm.execute("cont")
    vm.wait_guest(1, since=len(vm.console()))
    assert vm.save("taken", ["disk0", "disk1"], "disk0") is None
    assert vm.tags("disk1") == ["taken", "taken"]
    assert load_fails(vm, "taken").startswith("FAIL d81")
