"""The garbage collector is held off while a request is compiled, and found as it was afterwards."""

import gc

import pytest

from planner.compile.plan import compile_request
from planner.compile.rules import RULES, Rule
from planner.errors import Refused
from tests.unit.build import facts, qcow2, raw, two_disks, whole


@pytest.fixture(autouse=True)
def collector_as_before():
    enabled = gc.isenabled()
    yield
    (gc.enable if enabled else gc.disable)()


@pytest.mark.parametrize("found", [True, False])
def test_held_off_inside_and_left_as_found(found):
    seen = []
    watcher = Rule("W1", "sees", lambda _: seen.append(gc.isenabled()) or [])
    (gc.enable if found else gc.disable)()
    compile_request(whole("disk0", "disk1"), two_disks(), rules=(*RULES, watcher))
    assert (seen, gc.isenabled()) == ([False], found)


def test_left_as_found_by_a_refusal():
    gc.enable()
    with pytest.raises(Refused):
        compile_request(whole("disk0", "disk1"), facts(qcow2("disk0"), raw("disk1")))
    assert gc.isenabled()
