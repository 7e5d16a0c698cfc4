"""Facts 29 to 38: machine state outside of the disks, by `migrate`.

Fact 37's and 38's speeds are for benchmarks; here is what of them has no clock.
"""

import contextlib
import os

import pytest

from tests.support.guest import heartbeats
from tests.support.migration import (
    incoming_uri,
    migrate_to,
    set_capabilities,
    stream_uri,
    wait_migration,
)
from tests.support.qemu import file_mode
from tests.support.qmp import QmpError
from tests.support.topology import DiskKind, two_disks
from tests.support.vm import internal, overlay

# So slow that such a migration gets nowhere; slower than 10 is not limited at all (fact 53).
STANDSTILL = {"max-bandwidth": 4096, "downtime-limit": 0}


def migrated(target, **options):
    """A VM whose machine state has been streamed to a file: in `postmigrate`."""
    vm = target.start(two_disks(**options))
    vm.execute("stop")
    set_capabilities(vm)
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    return vm


def at_switchover(target, **options):
    """A VM that runs until its stream is all but written: in `finish-migrate`."""
    vm = target.start(two_disks(**options))
    set_capabilities(vm, "pause-before-switchover")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "pre-switchover", since=mark)
    return vm, mark


@contextlib.contextmanager
def slow_migration(target):
    """A VM with a migration that does not get on, cancelled in the end."""
    vm = target.start(two_disks(memory_mib=64))
    set_capabilities(vm)
    vm.execute("migrate-set-parameters", STANDSTILL)
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "active", since=mark)
    yield vm
    assert vm.execute("query-migrate")["status"] == "active"
    vm.execute("migrate_cancel")
    wait_migration(vm, "cancelled", since=mark)


# --- fact 29 ------------------------------------------------------------------------------------


def test_fact_29_internal_snapshot_after_a_migration_is_refused(target):
    """In postmigrate the nodes are inactive; the words about the format mislead."""
    vm = migrated(target)
    assert vm.refused_transaction(internal("disk0", "a")) == (
        "Block format 'qcow2' used by device 'disk0' does not support internal snapshots"
    )
    assert vm.save("a", ["disk0"]) == "Device 'disk0' is writable but does not support snapshots"


def test_fact_29_overlay_after_a_migration_is_accepted(target):
    """Overlays still attach in postmigrate."""
    vm = migrated(target)
    vm.add_overlay("over")
    vm.transaction(overlay("disk1", "over"))
    assert vm.node_of("over") == "over"


def test_fact_29_cont_makes_the_nodes_active_again(target):
    """After `cont` internal snapshots work."""
    vm = migrated(target)
    vm.execute("cont")
    vm.wait_until(lambda: vm.status() == "running", "running")
    vm.snapshot_disks("a", "disk0", "disk1")


def test_fact_29_transaction_before_migrate_works(target):
    """With the guest stopped: first the disks, then the machine state."""
    vm = target.start(two_disks())
    set_capabilities(vm)
    vm.execute("stop")
    vm.snapshot_disks("a", "disk0", "disk1")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    assert vm.tags("disk0") == vm.tags("disk1") == ["a"]
    vm.execute("cont")


@pytest.mark.qemu_versions(since=(10, 0))
def test_fact_29_nodes_say_whether_they_are_active(target):
    """From 10.0 nodes show `active`, and blockdev-set-active makes them so without `cont`."""
    vm = migrated(target)
    assert vm.nodes()["disk0"]["active"] is False
    vm.execute("blockdev-set-active", active=True)
    assert vm.nodes()["disk0"]["active"] is True
    assert vm.status() == "postmigrate"
    vm.snapshot_disks("a", "disk0", "disk1")


@pytest.mark.qemu_versions(before=(10, 0))
def test_fact_29_nodes_do_not_say_whether_they_are_active(target):
    """Before 10.0 neither `active` nor blockdev-set-active exists."""
    vm = target.start(two_disks())
    assert "active" not in vm.nodes()["disk0"]
    commands = {command["name"] for command in vm.execute("query-commands")}
    assert "blockdev-set-active" not in commands


# --- fact 30 ------------------------------------------------------------------------------------


def test_fact_30_mixed_transaction_before_the_switchover(target):
    """In pre-switchover the guest stands, and one transaction takes snapshots and overlays."""
    vm, mark = at_switchover(target)
    assert vm.status() == "finish-migrate"
    vm.add_overlay("over")
    vm.transaction(internal("disk0", "a"), overlay("disk1", "over"))
    vm.execute("migrate-continue", state="pre-switchover")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    vm.execute("cont")
    vm.wait_until(lambda: vm.status() == "running", "running")
    assert vm.tags("disk0") == ["a"]
    assert vm.node_of("over") == "over"


@pytest.mark.real_qemu
def test_fact_30_all_parts_are_of_the_instant_of_the_stop(qemu):
    """Disks captured in pre-switchover and the stream are one instant: the guest agrees."""
    vm, mark = at_switchover(qemu, guest=True)
    vm.snapshot_disks("a", "disk0", "disk1")
    saved_at = len(vm.console())
    vm.execute("migrate-continue", state="pre-switchover")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    vm.execute("cont")
    vm.wait_guest(3, since=saved_at)
    restore_external(qemu, vm, "a")


def restore_external(qemu, vm, tag):
    """Revert the disks, start a fresh QEMU from the stream, and demand that the guest goes on."""
    saved_at = heartbeats(vm.console())
    vm.end()
    for disk in vm.topology.disks:
        vm.revert_image(disk.name, tag)
    restored = qemu.run(vm, vm.topology, "-incoming", incoming_uri(vm, vm.directory / "state"))
    restored.wait_until(lambda: restored.status() in {"running", "paused"}, "the stream read")
    if restored.status() == "paused":
        restored.execute("cont")
    again = restored.wait_guest(3)
    assert again[0] <= saved_at[-1], "it went back in time"


# --- fact 31 ------------------------------------------------------------------------------------


@pytest.mark.real_qemu
def test_fact_31_exec_makes_a_file_that_others_can_read(qemu):
    """A stream written through a shell gets the mode that the umask leaves, 0644 by default."""
    vm = qemu.start(two_disks(umask=0o022))
    set_capabilities(vm)
    path = vm.directory / "state"
    vm.execute("stop")
    mark = vm.qmp.mark()
    vm.execute("migrate", uri=f"exec:cat > {path}")
    wait_migration(vm, "completed", since=mark)
    assert file_mode(path) == 0o644


def migrate_to_descriptor(qemu):
    vm = qemu.start(two_disks())
    set_capabilities(vm)
    vm.execute("stop")
    path = vm.directory / "state"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        vm.pass_fd("stream", descriptor)
    finally:
        os.close(descriptor)
    return vm, path


def test_fact_31_getfd_wants_a_descriptor_with_it(target, tmp_path):
    """A `getfd` without a descriptor is refused; with one its name is known until it is closed."""
    vm = target.start(two_disks())
    words = vm.refusal("getfd", fdname="stream")
    assert words == "No file descriptor supplied via SCM_RIGHTS"
    with (tmp_path / "stream").open("wb") as file:
        vm.pass_fd("stream", file.fileno())
    vm.execute("closefd", fdname="stream")
    assert "not found" in vm.refusal("closefd", fdname="stream")


@pytest.mark.qemu_versions(since=(8, 2))
def test_fact_31_channel_says_the_same_as_a_uri(target):
    """`channels` with one file is `file:`; both at once, or neither, are refused."""
    vm = target.start(two_disks())
    set_capabilities(vm)
    path = str(vm.directory / "stream")
    addr = {"transport": "file", "filename": path, "offset": 0}
    channels = [{"channel-type": "main", "addr": addr}]
    for arguments in ({}, {"channels": []}, {"uri": f"file:{path}", "channels": channels}):
        words = vm.refusal("migrate", arguments)
        assert words == "need either 'uri' or 'channels' argument"
    mark = vm.qmp.mark()
    vm.execute("migrate", channels=channels)
    wait_migration(vm, "completed", since=mark)


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(before=(11, 0))
def test_fact_31_stream_goes_to_a_file_that_we_opened(qemu):
    """With getfd and `fd:` the file keeps the mode that we gave it."""
    vm, path = migrate_to_descriptor(qemu)
    mark = vm.qmp.mark()
    vm.execute("migrate", uri="fd:stream")
    wait_migration(vm, "completed", since=mark)
    assert file_mode(path) == 0o600
    assert path.stat().st_size > 2**16
    assert ("deprecated" in vm.stderr()) == (vm.version >= (10, 0))


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(since=(11, 0))
def test_fact_31_descriptor_of_a_file_is_refused(qemu):
    """QEMU 11 wants `file:` instead."""
    vm, _path = migrate_to_descriptor(qemu)
    words = vm.refusal("migrate", uri="fd:stream")
    assert words == "fd: migration to a file is not supported. Use file: instead."


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(since=(8, 2))
@pytest.mark.parametrize("mode", [None, 0o640], ids=["new file", "existing file"])
def test_fact_31_file_uri_makes_a_private_file_or_keeps_the_mode(qemu, mode):
    """A file made by `file:` is 0600 whatever the umask; one that exists stays as it is."""
    vm = qemu.start(two_disks(umask=0))
    set_capabilities(vm)
    vm.execute("stop")
    path = vm.directory / "state"
    if mode is not None:
        path.touch()
        path.chmod(mode)
    wait_migration(vm, "completed", since=migrate_to(vm, path))
    assert file_mode(path) == (mode or 0o600)


@pytest.mark.qemu_versions(before=(8, 2))
def test_fact_31_file_uri_is_unknown(target):
    """Before 8.2 there is no `file:`."""
    vm = target.start(two_disks())
    words = vm.refusal("migrate", uri=f"file:{vm.directory / 'state'}")
    assert "file:" in words or "uri" in words


def test_fact_31_arguments_of_migrate_differ(target):
    """`blk` and `inc` are gone by 10, `detach` by 11; `mapped-ram` came in 9.0."""
    vm = target.start(two_disks())
    schema = {entity["name"]: entity for entity in vm.execute("query-qmp-schema")}
    arguments = {m["name"] for m in schema[schema["migrate"]["arg-type"]]["members"]}
    assert ({"blk", "inc"} <= arguments) == (vm.version < (10, 0))
    assert ("detach" in arguments) == (vm.version < (11, 0))
    capabilities = vm.execute("query-migrate-capabilities")
    names = {capability["capability"] for capability in capabilities}
    assert ("mapped-ram" in names) == (vm.version >= (9, 0))


# --- fact 32 ------------------------------------------------------------------------------------


@pytest.mark.real_qemu
def test_fact_32_fresh_qemu_starts_from_stream_and_reverted_disks(qemu):
    """An external snapshot is restored by `-incoming` on disks that qemu-img reverted."""
    vm = qemu.start(two_disks(guest=True))
    set_capabilities(vm)
    vm.wait_guest(1)
    vm.execute("stop")
    vm.snapshot_disks("a", "disk0", "disk1")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    vm.execute("cont")
    vm.wait_guest(4)
    restore_external(qemu, vm, "a")


# --- fact 56 ------------------------------------------------------------------------------------


@pytest.mark.real_qemu
def test_fact_56_stream_read_without_a_shell_leaves_a_paused_guest(qemu):
    """`-S -incoming defer`, then file:, or before 8.2 a descriptor; nodes stay inactive until cont."""
    vm = migrated(qemu, guest=True)
    path = vm.directory / "state"
    vm.end()
    again = qemu.run(vm, vm.topology, "-S", "-incoming", "defer")
    assert again.status() == "inmigrate"
    if again.version >= (8, 2):
        again.execute("migrate-incoming", uri=f"file:{path}")
    else:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            again.pass_fd("stream", descriptor)
        finally:
            os.close(descriptor)
        again.execute("migrate-incoming", uri="fd:stream")
    again.wait_until(lambda: again.status() != "inmigrate", "the stream to be read")
    assert again.status() == "paused"
    shown = {node.get("active") for node in again.nodes().values()}
    assert shown == ({False} if again.version >= (10, 0) else {None})
    again.execute("cont")
    assert {node.get("active") for node in again.nodes().values()} <= {True, None}
    again.wait_guest(2)


# --- fact 33 ------------------------------------------------------------------------------------


@pytest.mark.real_qemu
def test_fact_33_blocked_reasons_tell_what_stops_migrate_and_save(qemu):
    """A node that cannot migrate (the old qcow format) blocks both, and query-migrate says so."""
    vm = qemu.start(two_disks())
    assert "blocked-reasons" not in vm.execute("query-migrate")
    vm.add_node("old", "qcow")
    (reason,) = vm.execute("query-migrate")["blocked-reasons"]
    assert reason == "The qcow format used by node 'old' does not support live migration"
    assert vm.refusal("migrate", uri=stream_uri(vm, vm.directory / "state")) == reason
    assert vm.save("a", ["disk0", "disk1"]) == reason
    assert vm.status() == "running"


# --- fact 34 ------------------------------------------------------------------------------------


def test_fact_34_block_layer_is_free_while_a_migration_is_active(target):
    """Snapshots, their deletion, overlays, bitmaps, blockdev-add, stop and cont are allowed."""
    with slow_migration(target) as vm:
        vm.add_overlay("over")
        vm.transaction(internal("disk0", "a"), overlay("disk1", "over"))
        vm.execute("blockdev-snapshot-delete-internal-sync", device="disk0", name="a")
        vm.execute("block-dirty-bitmap-add", node="disk0", name="bitmap")
        vm.execute("stop")
        vm.execute("cont")


def test_fact_34_save_and_devices_wait_for_the_end_of_a_migration(target):
    """device_add, another migrate and other capabilities are refused; a save fails in its job."""
    with slow_migration(target) as vm:
        vm.add_node("more", "raw")
        words = vm.refusal("device_add", driver="virtio-blk-pci", drive="more")
        assert words == "device_add not allowed while migrating"
        uri = stream_uri(vm, vm.directory / "other")
        assert vm.refusal("migrate", uri=uri) == "There's a migration process in progress"
        assert (
            vm.refusal(
                "migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}]
            )
            == "There's a migration process in progress"
        )
        assert vm.save("a", ["disk0"]) is not None
        assert vm.tags("disk0") == []


# --- facts 35 to 38 -----------------------------------------------------------------------------


@pytest.mark.real_qemu
def test_fact_35_deletion_on_an_inactive_node_aborts_qemu(qemu):
    """In postmigrate blockdev-snapshot-delete-internal-sync ends QEMU by an assertion."""
    vm = qemu.start(two_disks())
    set_capabilities(vm)
    vm.execute("stop")
    vm.snapshot_disks("a", "disk0")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    vm.qmp.send("blockdev-snapshot-delete-internal-sync", device="disk0", name="a")
    assert vm.wait_death() == -6, "SIGABRT"
    assert "BDRV_O_INACTIVE" in vm.stderr()


def test_fact_35_deletion_after_cont_works(target):
    """Made active first, the node gives its snapshot up."""
    vm = target.start(two_disks())
    set_capabilities(vm)
    vm.execute("stop")
    vm.snapshot_disks("a", "disk0")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.wait_until(lambda: vm.status() == "postmigrate", "postmigrate")
    vm.execute("cont")
    vm.execute("blockdev-snapshot-delete-internal-sync", device="disk0", name="a")
    assert vm.tags("disk0") == []


def test_fact_36_second_migrate_in_postmigrate_is_refused(target):
    """A VM that a migration paused cannot be migrated again before `cont`."""
    vm = migrated(target)
    words = vm.refusal("migrate", uri=stream_uri(vm, vm.directory / "again"))
    assert words == "Can't migrate the vm that was paused due to previous migration"


def test_fact_37_bandwidth_is_limited_by_default_and_can_be_put_back(target):
    """max-bandwidth is 128 MiB/s unless set, and what was set is what is asked back."""
    vm = target.start(two_disks())
    before = vm.execute("query-migrate-parameters")["max-bandwidth"]
    assert before == 128 * 2**20
    vm.execute("migrate-set-parameters", {"max-bandwidth": 2**40})
    assert vm.execute("query-migrate-parameters")["max-bandwidth"] == 2**40
    vm.execute("migrate-set-parameters", {"max-bandwidth": before})
    assert vm.execute("query-migrate-parameters")["max-bandwidth"] == before


def test_fact_38_save_to_a_slow_disk_ends_all_the_same(target):
    """A slow disk makes a save long, and QMP silent meanwhile; it is no failure."""
    vm = target.start(two_disks(DiskKind.FILTERED, throttle_bps=2 * 2**20))
    assert vm.save("a", ["disk0", "disk1"], "disk1") is None
    assert vm.tags("disk1-format") == ["a"]


# --- fact 57 ------------------------------------------------------------------------------------


def test_fact_57_a_migration_that_is_cancelled_while_it_stops_the_guest_can_be_freed(target):
    """Cancelled as soon as the guest stands, it ends, of itself or by `migrate-continue`."""
    vm = target.start(two_disks())
    set_capabilities(vm, "pause-before-switchover")

    def ended():
        status = vm.execute("query-migrate")["status"]
        if status == "cancelling":  # by the time of the answer it may be over
            with contextlib.suppress(QmpError):
                vm.execute("migrate-continue", state="cancelling")
        return status == "cancelled" and vm.status() == "running"

    for number in range(6):
        mark = migrate_to(vm, vm.directory / f"state{number}")
        vm.wait_event("STOP", since=mark)
        vm.execute("migrate_cancel")
        vm.wait_until(ended, "cancelled, and the guest runs")
    assert vm.refusal("migrate-continue", state="cancelling") == (
        "Migration not in expected state: cancelled"
    )
