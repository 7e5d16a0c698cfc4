"""Fact 1: what a save refuses at once, and what fails in its job."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology, two_disks


@experiment()
@cases("missing", ["job-id", "tag", "vmstate", "devices"])
def malformed_arguments_are_refused_at_once(target, missing):
    """A command that lacks an argument is an error reply, and no job."""
    vm = target.start(two_disks())
    arguments = {"job-id": "save", "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    del arguments[missing]
    same(vm.refusal("snapshot-save", arguments), f"Parameter '{missing}' is missing")
    same(vm.execute("query-jobs"), [])


@experiment()
@cases(
    ("devices", "error"),
    [
        (["disk0", "nowhere"], "No block device node 'nowhere'"),
        (["disk0", "raw"], "Device 'raw' is writable but does not support snapshots"),
        (["disk0", "clash"], None),
        (["clash"], "Snapshot 'taken' already exists in one or more devices"),
    ],
    ["missing node", "raw disk", "some have the tag", "all have the tag"],
)
def all_else_is_accepted_and_fails_in_the_job(target, devices, error):
    """A save that cannot be done is answered `{}`; only the concluded job holds the error."""
    disks = (DiskSpec("disk0"), DiskSpec("raw", DiskKind.RAW), DiskSpec("clash"))
    vm = target.start(Topology(disks=disks))
    same(vm.save("taken", ["clash"]), None)
    same(vm.save("taken", devices), error)


@experiment()
def job_stays_until_it_is_dismissed(target):
    """A concluded job holds its id until job-dismiss."""
    vm = target.start(two_disks())
    arguments = {"job-id": "save", "tag": "a", "vmstate": "disk0", "devices": ["disk0"]}
    same(vm.execute("snapshot-save", arguments), {})
    vm.wait_event("JOB_STATUS_CHANGE", lambda data: data["status"] == "concluded")
    same(vm.job("save")["status"], "concluded")
    same(vm.refusal("snapshot-save", arguments), "Job ID 'save' already in use")
    vm.execute("job-dismiss", id="save")
    same(vm.execute("query-jobs"), [])
    same(vm.run_job("snapshot-save", tag="b", devices=["disk0"], job_id="save"), None)


if __name__ == "__main__":
    run_by_hand(globals())
