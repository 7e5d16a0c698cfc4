"""Fact 40: continued too early, it is of another instant."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import (
    set_capabilities,
    stream_uri,
    wait_migration,
)
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import two_disks

MOST_RACES = 20


@experiment(since=(10, 0))
def cont_before_tracking_is_another_instant(qemu):
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
    same(vm.qmp.reply_to(migrate), {})
    same(vm.qmp.reply_to(cont), {})
    wait_migration(vm, "completed", since=mark)
    told = [event["event"] for event in vm.events[mark:] if event["event"] in {"STOP", "RESUME"}]
    return told[:2] == ["RESUME", "STOP"]


if __name__ == "__main__":
    run_by_hand(globals())
