"""Fact 4: the events of a save."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology, two_disks
from backends.qemu_facts.steps.saving import FAILING_VMSTATE


def job_events(vm, job_id, *, since=0):
    """The job's statuses and the VM's STOP and RESUME, in QEMU's order."""
    vm.qmp.drain()
    told = []
    for event in vm.events[since:]:
        if event["event"] in {"STOP", "RESUME"}:
            told.append(event["event"])
        elif event["event"] == "JOB_STATUS_CHANGE" and event["data"]["id"] == job_id:
            told.append(event["data"]["status"])
    return told


@experiment()
def events_of_a_save_from_a_running_vm(target):
    """STOP and RESUME come after running and before waiting; null comes with the dismissal."""
    vm = target.start(two_disks())
    same(vm.run_job("snapshot-save", tag="a", devices=["disk0", "disk1"], job_id="save"), None)
    same(
        job_events(vm, "save"),
        [
            *("created", "running", "STOP", "RESUME"),
            *("waiting", "pending", "concluded", "null"),
        ],
    )
    same(vm.status(), "running")


@experiment()
def events_of_a_save_from_a_stopped_vm(target):
    """No STOP, no RESUME, and it stays stopped."""
    vm = target.start(two_disks())
    vm.execute("stop")
    mark = vm.qmp.mark()
    same(vm.run_job("snapshot-save", tag="a", devices=["disk0", "disk1"], job_id="save"), None)
    told = job_events(vm, "save", since=mark)
    same(told, ["created", "running", "waiting", "pending", "concluded", "null"])
    same(vm.status(), "paused")


@experiment()
def events_of_a_save_that_fails_before_the_stop(target):
    """A failure is told by aborting; found early, the guest never stops."""
    vm = target.start(two_disks(DiskKind.RAW))
    holds(vm.run_job("snapshot-save", tag="a", devices=["disk0", "disk1"], job_id="save"))
    same(job_events(vm, "save"), ["created", "running", "aborting", "concluded", "null"])


@experiment()
def events_of_a_save_that_fails_after_the_stop(target):
    """Found late, the guest was stopped and is resumed before aborting."""
    disks = (DiskSpec("disk0", DiskKind.FAULTY, inject_error=(FAILING_VMSTATE,)),)
    vm = target.start(Topology(disks=disks))
    holds(vm.run_job("snapshot-save", tag="a", devices=["disk0"], job_id="save"))
    same(
        job_events(vm, "save"),
        [
            *("created", "running", "STOP", "RESUME"),
            *("aborting", "concluded", "null"),
        ],
    )


if __name__ == "__main__":
    run_by_hand(globals())
