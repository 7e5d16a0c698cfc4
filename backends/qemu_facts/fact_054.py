"""Fact 54: a stalled background capture stalls QMP."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    migrated_pages,
    set_capabilities,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import found, raises
from backends.qemu_facts.lab.qmp import QmpTimeout
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.steps.background import migrate_stalled, release


@experiment(since=(10, 0))
def stalled_stream_of_a_running_guest_stalls_qmp(qemu):
    """QEMU's own thread meets a page not yet written; once the stream goes on, so does QMP."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    set_capabilities(vm, "background-snapshot")
    vm.execute("stop")
    mark = migrate_stalled(vm)
    vm.wait_until(lambda: migrated_pages(vm) > 0, "memory is being written")
    cont = vm.qmp.send("cont")
    vm.wait_event("RESUME", since=mark)
    with raises(QmpTimeout):
        for _question in range(10_000):
            vm.qmp.reply_to(vm.qmp.send("query-status"), timeout_s=2)
    release(vm)
    wait_migration(vm, "completed", since=mark)
    vm.qmp.drain()
    found({"return": {}, "id": cont}, vm.qmp.log)


if __name__ == "__main__":
    run_by_hand(globals())
