"""Fact 153: `blockdev-create` is a job, and empties a file that is there."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, two_disks

MIB = 2**20


def create(vm, job_id="c", **options):
    """Run one to its end and dismiss it; its error or None."""
    mark = vm.qmp.mark()
    same(vm.execute("blockdev-create", {"job-id": job_id, "options": options}), {})
    return vm.finish_job(job_id, since=mark)


@experiment()
def an_overlay_is_made_in_three_steps(target):
    """A file, a node of it, an image in that; before the image is made there is none to open."""
    vm = target.start(two_disks())
    path = str(vm.directory / "new")
    same(create(vm, driver="file", filename=path, size=0), None)
    vm.execute("blockdev-add", {"driver": "file", "node-name": "new-file", "filename": path})
    image = {"driver": "qcow2", "node-name": "new", "file": "new-file", "backing": None}
    same(vm.refusal("blockdev-add", image), "Image is not in qcow2 format")
    same(create(vm, driver="qcow2", file="new-file", size=16 * MIB), None)
    vm.execute("blockdev-add", image)
    same(vm.nodes()["new"]["image"]["virtual-size"], 16 * MIB)
    vm.execute("blockdev-snapshot", {"node": "disk0", "overlay": "new"})


@experiment()
def its_job_stays_until_it_is_dismissed(target):
    """The reply is empty whatever becomes of it; the error is the job's."""
    vm = target.start(two_disks())
    options = {"driver": "qcow2", "file": "nope", "size": MIB}
    mark = vm.qmp.mark()
    same(vm.execute("blockdev-create", {"job-id": "c", "options": options}), {})
    vm.wait_event("JOB_STATUS_CHANGE", lambda data: data["status"] == "concluded", since=mark)
    told = [event["data"]["status"] for event in vm.events[mark:]]
    same(told, ["created", "running", "aborting", "concluded"])
    again = vm.refusal("blockdev-create", {"job-id": "c", "options": options})
    same(again, "Job ID 'c' already in use")
    late = vm.refusal("job-cancel", id="c")
    same(late, "Job 'c' in state 'concluded' cannot accept command verb 'cancel'")
    words = "Cannot find device='nope' nor node-name='nope'"
    same((vm.job("c")["type"], vm.finish_job("c", since=mark)), ("create", words))
    wrong = vm.refusal("blockdev-create", {"job-id": "_c", "options": options})
    same(wrong, "Invalid job ID '_c'")


@experiment()
@cases("node", ["disk1", "disk1-file"])
def what_is_in_use_is_not_made_anew(target, node):
    """Neither by node nor by file."""
    vm = target.start(two_disks())
    asked, keeps = (
        ("write", "block device '") if node == "disk1" else ("write, resize", "node 'disk1'")
    )
    words = create(vm, driver="qcow2", file=node, size=MIB)
    start = f"Permission conflict on node '{node}': permissions '{asked}' are both required by an "
    same(words[: len(start)], start)
    same(f"and unshared by {keeps}" in words, True)
    [path] = {each["file"] for each in vm.nodes().values() if each["node-name"] == "disk1-file"}
    same(create(vm, driver="file", filename=path, size=0), 'Failed to get "write" lock')


@experiment()
def the_file_of_a_backing_image_is_in_use(target):
    """It is open for reading, and nobody may write to it."""
    vm = target.start(two_disks(DiskKind.BACKED))
    [path] = {each["file"] for each in vm.nodes().values() if each["node-name"] == "disk1-backing"}
    same(create(vm, driver="file", filename=path, size=0), 'Failed to get "write" lock')


@experiment()
def a_file_that_nobody_has_open_is_emptied(qemu):
    """Silently, and what it held is gone."""
    vm = qemu.start(two_disks())
    kept = vm.directory / "kept"
    kept.write_bytes(b"kept" * 1000)
    same(create(vm, driver="file", filename=str(kept), size=0), None)
    same(kept.stat().st_size, 0)


if __name__ == "__main__":
    run_by_hand(globals())
