"""Fact 152: `drive-backup` makes its target itself, and overwrites what is there."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import DiskKind, two_disks
from backends.qemu_facts.steps.copies import SLOW


def backup(vm, target, **more):
    """Arguments of a backup of the second disk into a file of its folder."""
    path = str(vm.directory / target)
    return {"device": "disk1", "target": path, "sync": "full", "format": "qcow2", **more}


def of_file(vm, name):
    """The nodes that have this file open."""
    return [node for node in vm.nodes().values() if node["file"].endswith("/" + name)]


@experiment()
def its_job_is_called_after_the_drive(target):
    """A disk that is a node only needs a job id; the target is open until the job has ended."""
    vm = target.start(two_disks(DiskKind.DRIVE))
    mark = vm.qmp.mark()
    vm.execute("drive-backup", backup(vm, "a"))
    vm.wait_event("BLOCK_JOB_COMPLETED", lambda data: data["device"] == "disk1", since=mark)
    vm.wait_until(lambda: not vm.execute("query-jobs"), "the end of the job")
    same(of_file(vm, "a"), [])
    slow = {"job-id": "j", "auto-dismiss": False, "speed": SLOW}
    vm.execute("drive-backup", backup(vm, "b", **slow))
    same({node["drv"] for node in of_file(vm, "b")}, {"qcow2", "file"})
    busy = vm.refusal("block_resize", {"device": "disk1", "size": 2**24})
    new = "Node 'disk1' is busy: block device is in use by block job: backup"
    same(busy, "Device 'disk1' is in use" if vm.version < (10, 0) else new)
    vm.execute("job-cancel", id="j")
    same(vm.finish_job("j", since=mark), "Operation canceled")
    same(of_file(vm, "b"), [])
    node = vm.refusal("drive-backup", {**backup(vm, "c"), "device": "disk0"})
    same(node, "Invalid job ID ''")


@experiment()
def a_file_of_a_disk_that_is_open_is_safe(target):
    """QEMU's own lock keeps a backup from writing over it; an unknown disk touches nothing."""
    vm = target.start(two_disks(DiskKind.DRIVE))
    vm.execute("drive-backup", backup(vm, "a", **{"job-id": "j", "speed": SLOW}))
    again = {**backup(vm, "a"), "device": "disk0", "job-id": "k"}
    same(vm.refusal("drive-backup", again), 'Failed to get "write" lock')
    unknown = vm.refusal("drive-backup", {**backup(vm, "b"), "device": "nope"})
    same(unknown, "Cannot find device='nope' nor node-name='nope'")
    words = vm.refusal("drive-backup", {**backup(vm, "b", format="nope"), "device": "disk0"})
    same(words, "Unknown file format 'nope'")


@experiment()
def a_file_that_is_there_is_overwritten(qemu):
    """Also where the command is refused afterwards, for its job's id or by its transaction."""
    vm = qemu.start(two_disks(DiskKind.DRIVE))
    for name, refuse in (("a", _by_id), ("b", _by_transaction)):
        kept = vm.directory / name
        kept.write_bytes(b"kept" * 1000)
        refuse(vm, name)
        holds(kept.read_bytes()[:4] == b"QFI\xfb", f"{name} was overwritten")
    same(vm.execute("query-jobs"), [])


def _by_id(vm, name):
    same(vm.refusal("drive-backup", backup(vm, name, **{"job-id": "7"})), "Invalid job ID '7'")


def _by_transaction(vm, name):
    words = vm.refused_transaction(("drive-backup", backup(vm, name)), ("abort", {}))
    same(words, "Transaction aborted using Abort action")


if __name__ == "__main__":
    run_by_hand(globals())
