"""Facts 100 and 101: savevm, loadvm and delvm of the human monitor."""

import pytest

from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks


def hmp(vm, line):
    return vm.execute("human-monitor-command", {"command-line": line})


def held(vm, node):
    return [(s.tag, s.vm_state_size > 0) for s in vm.snapshots(node)]


def test_fact_100_savevm_takes_every_writable_disk_and_puts_the_state_into_the_first(target):
    """What no option can change; nothing says it but the lists of the images."""
    vm = target.start(
        Topology(disks=(DiskSpec("disk0"), DiskSpec("ro", DiskKind.READ_ONLY), DiskSpec("disk1")))
    )
    assert hmp(vm, "savevm t") == ""
    assert held(vm, "disk0") == [("t", True)]
    assert held(vm, "disk1") == [("t", False)]
    assert held(vm, "ro") == []


def test_fact_100_one_disk_without_snapshots_stops_it(target):
    """The raw variables of UEFI firmware are the usual one; the error is a text in the reply."""
    vm = target.start(Topology(disks=(DiskSpec("disk0"), DiskSpec("raw", DiskKind.RAW))))
    error = "Error: Device 'raw' is writable but does not support snapshots\r\n"
    assert hmp(vm, "savevm t") == error
    assert held(vm, "disk0") == []


def test_fact_101_savevm_deletes_what_has_its_name_first(target):
    """Also on a disk that alone had it, and where that was another tool's."""
    vm = target.start(two_disks())
    vm.execute("blockdev-snapshot-internal-sync", {"device": "disk1", "name": "t"})
    vm.execute("blockdev-snapshot-internal-sync", {"device": "disk1", "name": "other"})
    before = vm.snapshots("disk1")
    assert hmp(vm, "savevm t") == ""
    other, after = vm.snapshots("disk1")
    assert [s.id for s in before] == ["1", "2"]
    assert (other.id, after.id, after.tag) == ("2", "3", "t")
    assert held(vm, "disk0") == [("t", True)]


@pytest.mark.parametrize("command", ["loadvm", "delvm"])
def test_fact_101_what_is_not_there_is_an_error_of_loadvm_alone(target, command):
    """delvm says nothing; loadvm has stopped the guest before it says so (fact 18)."""
    vm = target.start(two_disks())
    vm.execute("cont")
    said = hmp(vm, f"{command} nope")
    error = "Error: Snapshot 'nope' does not exist in one or more devices\r\n"
    assert said == (error if command == "loadvm" else "")
    state = vm.execute("query-status")["status"]
    assert state == ("restore-vm" if command == "loadvm" else "running")
