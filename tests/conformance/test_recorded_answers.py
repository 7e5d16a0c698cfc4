"""What the simulator answers from a record is what this QEMU answers."""

import pytest

from planner.semantics import profile_of
from planner.semantics.commands import COMMANDS
from planner.semantics.recorded_answers import recorded_answers
from tests.support.qemu import qemu_version
from tests.support.qmp import QmpError
from tests.support.topology import two_disks

VERSIONS = ["7.2", "10.0", "11.1"]
MADE_HERE = {"query-chardev", "query-sgx-capabilities", "query-accelerators"}
"""What depends on the harness's own sockets, on the host, and on how a QEMU was built."""


def shape(value):
    """The members of a reply and their types, however many elements its lists have."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return value if isinstance(value, str) and " " in value else type(value).__name__


def answer_of(vm, name):
    """What this QEMU says, as it is recorded."""
    try:
        return {"return": vm.execute(name)}
    except QmpError as refused:
        return {"error": {"class": refused.error_class, "desc": refused.desc}}


@pytest.mark.real_qemu
def test_recorded_answers_are_what_qemu_says(qemu):
    """Each reply has the shape of this QEMU's, and each refusal its words."""
    if qemu_version() not in {profile_of(version).version[:2] for version in VERSIONS}:
        pytest.skip("another QEMU than was recorded")
    vm = qemu.start(two_disks())
    recorded = recorded_answers(profile_of(".".join(map(str, vm.version))).name)
    assert not set(recorded) & set(COMMANDS)
    for name in sorted(set(recorded) - MADE_HERE):
        assert shape(answer_of(vm, name)) == shape(recorded[name]), name
