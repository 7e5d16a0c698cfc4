"""However many overlays a delete merges, what QEMU says of all disks is not asked for more often."""

import asyncio
from collections import Counter

from planner.run.phases import Phase
from planner.semantics.construct import DiskDescription, vm_state
from tests.crash.killed_external import apply, vm_of
from tests.crash.killing import Moments, Planned, process
from tests.crash.test_kills_delete import delete
from tests.crash.test_random_faults import TAG

WHOLE = ("query-named-block-nodes", "query-block", "query-blockstats")


def asked(count, folder):
    """How often each command was sent by a delete that merges so many overlays."""
    folder.mkdir()
    names = [f"disk{number}" for number in range(count)]
    wishes = ", ".join(f"{name}: {{external: /images/{name}.new}}" for name in names)
    text = f"tag: {TAG}\nmachine-state: none\ndisks: {{{wishes}}}\n"
    state = vm_state("10.0", [DiskDescription(name, "qcow2") for name in names])
    vm = vm_of(Planned.of(state, text, "transactional"))
    with process(vm, Moments()):
        planned = Planned.of(state, text, "transactional")
        assert asyncio.run(apply(vm, planned, folder)).phase is Phase.DONE
    vm.sent.clear()
    outcome = asyncio.run(delete(vm, folder))
    assert outcome.phase is Phase.DONE, outcome
    return Counter(vm.sent)


def test_a_delete_asks_for_all_disks_as_often_for_many_overlays_as_for_two(tmp_path):
    """And sends a fixed number of commands for each overlay."""
    few, many = asked(2, tmp_path / "few"), asked(20, tmp_path / "many")
    assert {command: many[command] for command in WHOLE} == {
        command: few[command] for command in WHOLE
    }
    assert many["block-commit"] == many["job-complete"] == 20
    assert sum(many.values()) <= 10 * sum(few.values())
