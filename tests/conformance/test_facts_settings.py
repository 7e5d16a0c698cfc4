"""Facts 64 and 65: migration settings that are left on, and a migration that failed."""

import contextlib
import signal
import socket

import pytest

from tests.support.qmp import QmpClosed, QmpError
from tests.support.topology import two_disks

BOTH = ["disk0", "disk1"]
CRASHES = pytest.mark.qemu_versions(before=(11, 0))
REFUSES = pytest.mark.qemu_versions(since=(11, 0))
SINCE_10 = pytest.mark.qemu_versions(since=(10, 0))


def put(vm, name, on=True):
    vm.execute("migrate-set-capabilities", capabilities=[{"capability": name, "state": on}])


def saved(target):
    """A VM that holds a snapshot."""
    vm = target.start(two_disks())
    assert vm.save("a", BOTH) is None
    return vm


# --- fact 64 ------------------------------------------------------------------------------------


@CRASHES
@pytest.mark.real_qemu
@pytest.mark.parametrize("command", ["snapshot-save", "snapshot-load"])
def test_fact_64_multifd_is_the_end_of_qemu(qemu, command):
    """SIGSEGV, in a save and in a load."""
    vm = saved(qemu)
    put(vm, "multifd")
    with pytest.raises(QmpClosed):
        vm.run_job(command, tag="b" if command == "snapshot-save" else "a", devices=BOTH)
    assert vm.wait_death() == -signal.SIGSEGV


@REFUSES
def test_fact_64_multifd_is_refused_before_a_disk_is_touched(target):
    """From 11 on; a load has stopped the guest by then."""
    vm = saved(target)
    put(vm, "multifd")
    assert vm.save("b", BOTH) == "Snapshots are not compatible with multifd"
    assert vm.load("a", BOTH) == "Snapshots are not compatible with multifd"
    assert vm.status() == "restore-vm"


@pytest.mark.parametrize(
    "name",
    ["x-ignore-shared", pytest.param("mapped-ram", marks=pytest.mark.qemu_versions(since=(10, 0)))],
)
def test_fact_64_a_load_wants_what_the_save_had(target, name):
    """On at the load and not at the save: the disks are reverted, and then it fails."""
    vm = saved(target)
    put(vm, name)
    assert vm.load("a", BOTH)
    assert vm.status() == "restore-vm"
    put(vm, name, on=False)
    assert vm.load("a", BOTH) is None


@pytest.mark.qemu_versions(before=(8, 0))
def test_fact_64_block_migration_and_snapshots(target):
    """The capability `block` of 7 makes a save fail."""
    vm = saved(target)
    put(vm, "block")
    assert vm.save("b", BOTH) == "Block migration and snapshots are incompatible"
    assert vm.load("a", BOTH) is None


@pytest.mark.qemu_versions(before=(8, 0))
def test_fact_64_compressed_machine_state_cannot_be_loaded(target):
    """The capability `compress` of 7: the save succeeds, and no load of it does."""
    vm = target.start(two_disks())
    put(vm, "compress")
    assert vm.save("a", BOTH) is None
    put(vm, "compress", on=False)
    assert vm.load("a", BOTH) == "Error -22 while loading VM state"


# --- fact 65 ------------------------------------------------------------------------------------


def fail_a_migration(vm):
    with contextlib.suppress(QmpError):
        vm.execute("migrate", uri="fd:nobody")
    vm.wait_until(lambda: vm.execute("query-migrate").get("status") == "failed", "a failure")


@SINCE_10
def test_fact_65_a_failed_migration_makes_every_load_fail(target):
    """Until a save, which begins anew."""
    vm = saved(target)
    fail_a_migration(vm)
    assert vm.execute("query-migrate")["error-desc"]
    assert vm.load("a", BOTH) in {
        "Error -22 while loading VM state",
        "Error while loading vmstate",
    }
    assert vm.status() == "restore-vm"
    assert vm.save("b", BOTH) is None
    assert "error-desc" not in vm.execute("query-migrate")
    assert vm.load("a", BOTH) is None


@SINCE_10
@pytest.mark.real_qemu
def test_fact_65_a_cancelled_migration_has_it_forgotten(qemu):
    """Into a socket that nobody reads, cancelled once it is active: the guest does not stop."""
    vm = saved(qemu)
    fail_a_migration(vm)
    vm.execute("migrate-set-parameters", {"max-bandwidth": 4096})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        vm.pass_fd("sink", theirs.fileno())
        vm.execute("migrate", uri="fd:sink")
        vm.wait_until(lambda: vm.execute("query-migrate")["status"] == "active", "active")
        vm.execute("migrate_cancel")
        vm.wait_until(lambda: vm.execute("query-migrate")["status"] == "cancelled", "cancelled")
    assert "error-desc" not in vm.execute("query-migrate")
    assert vm.status() == "running"
    assert vm.load("a", BOTH) is None


@pytest.mark.qemu_versions(before=(8, 0))
def test_fact_65_version_7_does_not_mind(target):
    """A load succeeds whatever became of a migration."""
    vm = saved(target)
    fail_a_migration(vm)
    assert vm.load("a", BOTH) is None
