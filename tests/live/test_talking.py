"""Groups of guests that talk: none has received what another one, as it was saved, has not sent.

Bytes that are under way at the instant are in no guest's memory, and lost; `talkers` never wait for one.
"""

import pytest

from tests.live.runs import as_json, snapplan
from tests.support.qemu import QemuTarget
from tests.support.talkers import (
    REQUEST,
    counters,
    group_of,
    received_unsent,
    start_ring,
    wait_heard,
)

pytestmark = pytest.mark.real_qemu

TWO, THREE = ("db", "web"), ("db", "queue", "web")


def done(*command):
    """Run a command that must succeed; its JSON."""
    ended = snapplan(*command, "--json")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return as_json(ended)


def unsent_after_group(vms, folder):
    """Save and load them as a group; how many bytes were received that were not sent.

    The snapshot stays, as does its record.
    """
    store = ("--store", folder / "store")
    done("group", "apply", group_of(folder, vms), *store)
    wait_heard(vms)
    done("group", "load", "together", "--run-state-after", "paused", *store)
    return ended_load(vms)


def unsent_one_after_the_other(vms, folder, meanwhile):
    """The same, but each alone."""
    (folder / "request.yaml").write_text(REQUEST.replace("tag: a", "tag: alone"))
    for vm in vms.values():
        done("apply", folder / "request.yaml", "--vm", vm.qmp_path, "--store", folder / "alone")
        meanwhile()
    for vm in vms.values():
        at = ("--vm", vm.qmp_path, "--store", folder / "alone")
        done("load", "alone", "--run-state-after", "paused", *at)
    return ended_load(vms)


def ended_load(vms):
    """What the standing guests have counted; then all go on, and none is stuck."""
    unsent = received_unsent([counters(vm) for vm in vms.values()])
    for vm in vms.values():
        vm.execute("cont")
    wait_heard(vms)
    return unsent


def test_a_group_has_received_nothing_that_was_not_sent(qemu, tmp_path):
    """Nor is any guest stuck; the same guests are torn one after the other, bytes between."""
    vms = start_ring(qemu, TWO)
    assert unsent_after_group(vms, tmp_path) == 0
    torn = unsent_one_after_the_other(vms, tmp_path, lambda: wait_heard(vms, 1000))
    assert torn > 0, "the check above cannot fail"


@pytest.mark.long
@pytest.mark.parametrize("names", [TWO, THREE], ids=["two", "three"])
def test_twelve_groups_have_received_nothing_that_was_not_sent(tmp_path, names):
    """Twelve times, with all that two and three guests send each other meanwhile."""
    for number in range(12):  # new guests each time: a load leaves bytes under way (fact 119)
        folder = tmp_path / str(number)
        folder.mkdir()
        target = QemuTarget()
        try:
            assert unsent_after_group(start_ring(target, names), folder) == 0
        finally:
            target.close()


@pytest.mark.long
def test_one_after_the_other_tears_some(qemu, tmp_path):
    """Eight times, with nothing to help: some guest has received what was never sent."""
    vms = start_ring(qemu, TWO)
    found = []
    for _ in range(8):
        found.append(unsent_one_after_the_other(vms, tmp_path, lambda: None))
        for vm in vms.values():
            at = ("--vm", vm.qmp_path, "--store", tmp_path / "alone")
            done("delete", "alone", "--yes", *at)
    assert max(found) > 0
