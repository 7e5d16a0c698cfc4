"""Facts 39 to 43, and 54: machine state written while the guest runs on, by `background-snapshot`.

Fact 43 is about time, which only benchmarks measure. The accelerator must let QEMU protect memory
(userfaultfd); TCG and KVM both do.
"""

import os

import pytest

from tests.support.migration import (
    incoming_uri,
    migrate_to,
    migrated_pages,
    set_capabilities,
    stream_uri,
    wait_migration,
)
from tests.support.qmp import QmpTimeout
from tests.support.topology import two_disks
from tests.support.vm import internal, overlay
from tests.support.writer import start_writer, wait_written, written_mib

# For 7.2 alone, where a stalled stream stalls QMP: its guest runs on and meets protected memory.
SLOW_STREAM = {"max-bandwidth": 2**14}
MOST_RACES = 20
WRITTEN_MIB = 32


def migrate_stalled(vm):
    """Start a stream that gets stuck after some 100 kB, until `release` lets it go.

    Not by a low bandwidth, which is no proof on a busy machine. What waits is a shell.
    """
    os.mkfifo(vm.directory / "go", 0o600)
    mark = vm.qmp.mark()
    command = f"read go < {vm.directory}/go && cat > {vm.directory}/state"
    vm.execute("migrate", uri=f"exec:{command}")
    return mark


def release(vm):
    """Let the stream go that `migrate_stalled` started."""
    (vm.directory / "go").write_text("go\n")


def resume_while_stalled(vm, *, since):
    """Continue the guest, see it resumed, and only then let the stream go (fact 54)."""
    cont = vm.qmp.send("cont")
    vm.wait_event("RESUME", since=since)
    release(vm)
    assert vm.qmp.reply_to(cont) == {}


def capture(vm, *actions, transaction_first):
    """Save the machine state in the background and the disks beside it, the way fact 39 tells.

    The stream is stalled when this returns.
    """
    set_capabilities(vm, "background-snapshot")
    vm.execute("stop")
    if transaction_first:
        vm.transaction(*actions)
    mark = migrate_stalled(vm)
    vm.wait_until(lambda: migrated_pages(vm) > 0, "memory is being written")
    if not transaction_first:
        vm.transaction(*actions)
    return mark


def restored_guest(qemu, vm):
    """A fresh QEMU from the stream and the disks reverted to the tag `a`."""
    vm.end()
    for disk in vm.topology.disks:
        vm.revert_image(disk.name, "a")
    restored = qemu.run(vm, vm.topology, "-incoming", incoming_uri(vm, vm.directory / "state"))
    restored.wait_until(lambda: restored.status() in {"running", "paused"}, "the stream read")
    restored.execute("cont")
    return restored


# --- fact 39 ------------------------------------------------------------------------------------


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(since=(10, 0))
@pytest.mark.parametrize("transaction_first", [True, False], ids=["disks first", "memory first"])
def test_fact_39_background_snapshot_is_of_its_start(qemu, transaction_first):
    """Stream and disks are of the instant of the stop though the guest went on: it agrees."""
    vm = qemu.start(two_disks(guest=True))
    last_seen = vm.wait_guest(1)[-1]
    actions = (internal("disk0", "a"), internal("disk1", "a"))
    mark = capture(vm, *actions, transaction_first=transaction_first)
    resumed_at = len(vm.console())
    resume_while_stalled(vm, since=mark)
    went_on = vm.wait_guest(1, since=resumed_at)
    wait_migration(vm, "completed", since=mark)
    assert vm.status() == "running"
    told = [event.get("data", {}).get("status") or event["event"] for event in vm.events[mark:]]
    assert told.index("RESUME") < told.index("completed"), "it went on while memory was written"

    again = restored_guest(qemu, vm).wait_guest(3)
    assert last_seen < again[0] <= went_on[0]


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(since=(10, 0))
def test_fact_39_stopped_vm_stays_stopped(qemu):
    """Without a `cont` the VM is paused when the stream is complete, with overlays attached."""
    vm = qemu.start(two_disks())
    vm.add_overlay("over")
    actions = (internal("disk0", "a"), overlay("disk1", "over"))
    mark = capture(vm, *actions, transaction_first=False)
    release(vm)
    wait_migration(vm, "completed", since=mark)
    assert vm.status() == "paused"
    assert vm.tags("disk0") == ["a"]
    assert vm.node_of("over") == "over"


# --- fact 40 ------------------------------------------------------------------------------------


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(since=(10, 0))
def test_fact_40_cont_before_tracking_is_another_instant(qemu):
    """A `cont` before tracking is on is no error; QEMU stops again, and saves that later state.

    It is a race between `cont` and QEMU's own thread, so it is run until it is lost.
    """
    for _attempt in range(MOST_RACES):
        vm = qemu.start(two_disks(guest=True))
        vm.wait_guest(1)
        if stopped_again_after_early_cont(vm):
            return
        vm.end()
    raise AssertionError(f"{MOST_RACES} times `cont` came late enough")


def stopped_again_after_early_cont(vm):
    """Capture disks and memory with a `cont` right behind `migrate`; did QEMU stop again?"""
    set_capabilities(vm, "background-snapshot")
    vm.execute("stop")
    vm.snapshot_disks("a", "disk0", "disk1")
    mark = vm.qmp.mark()
    migrate = vm.qmp.send("migrate", uri=stream_uri(vm, vm.directory / "state"))
    cont = vm.qmp.send("cont")
    assert vm.qmp.reply_to(migrate) == {}
    assert vm.qmp.reply_to(cont) == {}
    wait_migration(vm, "completed", since=mark)
    told = [event["event"] for event in vm.events[mark:] if event["event"] in {"STOP", "RESUME"}]
    return told[:2] == ["RESUME", "STOP"]


# --- fact 41 ------------------------------------------------------------------------------------


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(before=(10, 0))
def test_fact_41_qemu_7_resumes_the_guest_by_itself(qemu):
    """A guest stopped before the capture runs again without a `cont`: no time for the disks."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    set_capabilities(vm, "background-snapshot")
    vm.execute("stop")
    mark = migrate_to(vm, vm.directory / "state")
    vm.wait_event("RESUME", since=mark)


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(before=(10, 0))
def test_fact_41_cancelled_capture_freezes_the_guest_of_qemu_7():
    """After a cancelled run memory stays write-protected: the VM is running, the guest is not.

    The guest rewrites more memory than is saved before the cancel: it does meet a protected page.
    It stands during the cancel.  A processor that met such a page just then could hold QEMU's lock for
    ever, and QEMU would not say anything any more; so the console alone is asked afterwards.
    """
    with start_writer(WRITTEN_MIB, mib_per_s=400) as vm:
        set_capabilities(vm, "background-snapshot")
        vm.execute("migrate-set-parameters", SLOW_STREAM)
        mark = migrate_to(vm, vm.directory / "state")
        vm.wait_event("RESUME", since=mark)
        vm.execute("stop")
        cancel_once_written(vm, mark)
        goes_on = written_mib(vm.console()) + WRITTEN_MIB
        mark = vm.qmp.mark()
        vm.qmp.send("cont")
        vm.wait_event("RESUME", since=mark)
        with pytest.raises(QmpTimeout):
            wait_written(vm, goes_on, timeout_s=2)
        vm.process.kill()  # its processor is stuck in a page fault: it does not end in good order


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(since=(10, 0))
def test_fact_41_cancelled_capture_ends_cleanly(qemu):
    """From 10 on a cancelled run leaves a guest that goes on."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    set_capabilities(vm, "background-snapshot")
    vm.execute("stop")
    mark = migrate_stalled(vm)
    cancel_once_written(vm, mark)
    cancelled_at = len(vm.console())
    vm.execute("cont")
    vm.wait_guest(3, since=cancelled_at)


def cancel_once_written(vm, mark):
    """Cancel a capture while memory is being written."""
    vm.wait_until(lambda: migrated_pages(vm) > 0, "memory is being written")
    vm.execute("migrate_cancel")
    if (vm.directory / "go").exists():
        release(vm)
    wait_migration(vm, "cancelled", since=mark)


# --- fact 42 ------------------------------------------------------------------------------------


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(since=(10, 0))
def test_fact_42_background_with_mapped_ram_cannot_be_loaded(qemu):
    """The pair is accepted and reports completed, and no QEMU starts from the file."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    set_capabilities(vm, "background-snapshot", "mapped-ram")
    vm.execute("stop")
    mark = migrate_to(vm, vm.directory / "state")
    wait_migration(vm, "completed", since=mark)
    vm.end()
    restored = qemu.run(vm, vm.topology, "-incoming", "defer")
    set_capabilities(restored, "mapped-ram")
    restored.qmp.send("migrate-incoming", uri=incoming_uri(vm, vm.directory / "state"))
    assert restored.wait_death() != 0


@pytest.mark.parametrize("other", ["multifd", "postcopy-ram", "dirty-bitmaps"])
def test_fact_42_capabilities_that_background_refuses(target, other):
    """What would write memory another way is refused beside background-snapshot."""
    vm = target.start(two_disks())
    pair = [{"capability": name, "state": True} for name in ("background-snapshot", other)]
    assert vm.refusal("migrate-set-capabilities", capabilities=pair) == (
        f"Background-snapshot is not compatible with {other}"
    )


# --- fact 54 ------------------------------------------------------------------------------------


def ask_until_silent(vm):
    """Ask something easy again and again; ends when an answer fails to come."""
    while True:
        vm.execute("query-status", timeout_s=2)


@pytest.mark.real_qemu
@pytest.mark.qemu_versions(since=(10, 0))
def test_fact_54_stalled_stream_of_a_running_guest_stalls_qmp(qemu):
    """QEMU's own thread meets a page not yet written; once the stream goes on, so does QMP."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    set_capabilities(vm, "background-snapshot")
    vm.execute("stop")
    mark = migrate_stalled(vm)
    vm.wait_until(lambda: migrated_pages(vm) > 0, "memory is being written")
    cont = vm.qmp.send("cont")
    vm.wait_event("RESUME", since=mark)
    with pytest.raises(QmpTimeout):  # noqa: PT012 - a race that is run until it is lost
        for _question in range(10_000):
            vm.qmp.reply_to(vm.qmp.send("query-status"), timeout_s=2)
    release(vm)
    wait_migration(vm, "completed", since=mark)
    vm.qmp.drain()
    assert {"return": {}, "id": cont} in vm.qmp.log
