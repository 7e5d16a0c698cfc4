"""Fact 55: block-commit undoes an overlay."""

import subprocess

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment, resource
from backends.qemu_facts.lab.outcome import found, holds, missing, same
from backends.qemu_facts.lab.qemu import qemu_img_binary
from backends.qemu_facts.lab.topology import DiskKind, two_disks
from backends.qemu_facts.lab.vm import overlay

COMMIT = "block-commit"


READY = [
    ("JOB_STATUS_CHANGE", "created"),
    ("JOB_STATUS_CHANGE", "running"),
    ("JOB_STATUS_CHANGE", "ready"),
    ("BLOCK_JOB_READY", None),
]


TO_PENDING = [("JOB_STATUS_CHANGE", "waiting"), ("JOB_STATUS_CHANGE", "pending")]


ENDED = [("BLOCK_JOB_COMPLETED", None), ("JOB_STATUS_CHANGE", "concluded")]


@resource()
def overlaid(target):
    """A VM whose raw disk has an overlay."""
    vm = target.start(two_disks(DiskKind.RAW))
    vm.add_overlay("over")
    vm.transaction(overlay("disk1", "over"))
    return vm


def commit(vm, **arguments):
    """Start the commit and wait until it is ready; returns the mark of its events."""
    mark = vm.qmp.mark()
    vm.execute(COMMIT, {"job-id": "undo", "device": "over", **arguments})
    vm.wait_event("BLOCK_JOB_READY", lambda data: data["device"] == "undo", since=mark)
    return mark


def wait_status(vm, status, mark):
    vm.wait_event(
        "JOB_STATUS_CHANGE",
        lambda data: data["id"] == "undo" and data["status"] == status,
        since=mark,
    )


def shown(vm, mark):
    """The job's events; how often it stood by between is left to QEMU."""
    kept = []
    for event in vm.events[mark:]:
        data = event.get("data", {})
        if "undo" not in (data.get("id"), data.get("device")):
            continue
        entry = event["event"], data.get("status")
        if data.get("status") not in ("standby", "paused") and entry not in kept:
            kept.append(entry)
    return kept


@experiment()
def commit_puts_the_base_back(overlaid):
    """Ready, completed, gone: the disk is on its base again, writable, under a spare overlay."""
    mark = commit(overlaid)
    overlaid.execute("job-complete", id="undo")
    wait_status(overlaid, "null", mark)
    same(shown(overlaid, mark), [*READY, *TO_PENDING, *ENDED, ("JOB_STATUS_CHANGE", "null")])
    same(overlaid.execute("query-jobs"), [])
    same(overlaid.node_of("disk1"), "disk1")
    holds(not overlaid.nodes()["disk1"]["ro"])
    overlaid.execute("blockdev-del", node_name="over")
    missing("over", overlaid.nodes())


@experiment()
def commit_that_is_dismissed_by_hand_stays(overlaid):
    """Without auto-dismiss and auto-finalize the job waits for each, and says how it ended."""
    mark = commit(overlaid, **{"auto-dismiss": False, "auto-finalize": False})
    overlaid.execute("job-complete", id="undo")
    overlaid.wait_event("BLOCK_JOB_PENDING", since=mark)
    same(overlaid.job("undo")["status"], "pending")
    same(overlaid.node_of("over"), "over")
    overlaid.execute("job-finalize", id="undo")
    wait_status(overlaid, "concluded", mark)
    same(shown(overlaid, mark), [*READY, *TO_PENDING, ("BLOCK_JOB_PENDING", None), *ENDED])
    same(overlaid.job("undo")["status"], "concluded")
    missing("error", overlaid.job("undo"))
    same(overlaid.node_of("disk1"), "disk1")
    overlaid.execute("job-dismiss", id="undo")
    same(overlaid.execute("query-jobs"), [])


@experiment()
def cancelled_commit_leaves_the_overlay(overlaid):
    """A cancelled commit is an error of its job, and the disk stays on its overlay."""
    mark = commit(overlaid, **{"auto-dismiss": False})
    overlaid.execute("job-cancel", id="undo")
    wait_status(overlaid, "concluded", mark)
    found(("BLOCK_JOB_CANCELLED", None), shown(overlaid, mark))
    same(overlaid.job("undo")["error"], "Operation canceled")
    same(overlaid.node_of("over"), "over")
    same(overlaid.nodes()["disk1"]["ro"], overlaid.version >= (10, 0))


@experiment()
def nodes_in_a_commit_take_nothing_else(overlaid):
    """While it runs, its nodes are no root nodes and carry no other overlay; a save is possible."""
    commit(overlaid)
    overlaid.add_overlay("second")
    busy = "Node 'over' is busy: block device is in use by block job: commit"
    same(overlaid.refused_transaction(overlay("over", "second")), busy)
    same(overlaid.refusal("blockdev-del", node_name="over"), busy)
    refused = overlaid.refusal("blockdev-snapshot-internal-sync", device="over", name="a")
    same(refused, "Need a root block node")
    same(overlaid.save("a", ["disk0"]), None)


@experiment()
@cases(("base", "root"), [("thr0", "thr0"), (None, "thr0-format")])
def commit_under_a_filter_needs_the_base(target, base, root):
    """Unless `base-node` names the filter, the commit goes to the node below it: the filter is lost."""
    name = "disk1"
    vm = target.start(two_disks(DiskKind.FILTERED))
    vm.add_overlay("over")
    vm.transaction(overlay(name, "over"))
    mark = commit(vm, **({"base-node": name} if base else {}))
    vm.execute("job-complete", id="undo")
    wait_status(vm, "null", mark)
    expected = root.replace("thr0", name)
    same(vm.node_of(expected), expected)


@experiment()
def nothing_to_commit_is_refused(overlaid):
    """A node without a base, a node that is not the root, and one that does not exist."""
    refusal = overlaid.refusal(COMMIT, device="disk0", job_id="undo")
    same(refusal, "cannot commit an image into itself")
    same(overlaid.refusal(COMMIT, device="disk1", job_id="undo"), "Need a root block node")
    same(overlaid.refusal(COMMIT, device="none", job_id="undo"), "Device 'none' not found")
    same(overlaid.refusal(COMMIT, device="over"), "Invalid job ID ''")


@experiment()
def commit_is_not_ready_at_once(qemu):
    """While it still copies, `job-complete` is refused: BLOCK_JOB_READY is to be waited for."""
    vm = qemu.start(two_disks(DiskKind.RAW))
    data, image = vm.directory / "data", vm.directory / "over.qcow2"
    data.write_bytes(b"x" * 2**23)
    subprocess.run([qemu_img_binary(), "convert", "-O", "qcow2", data, image], check=True)
    file = {"driver": "file", "filename": str(image)}
    tree = {"driver": "qcow2", "node-name": "over", "file": file, "backing": None}
    vm.execute("blockdev-add", tree)
    vm.transaction(overlay("disk1", "over"))
    vm.execute(COMMIT, {"job-id": "undo", "device": "over", "speed": 1})
    words = vm.refusal("job-complete", id="undo")
    same(words, "Job 'undo' in state 'running' cannot accept command verb 'complete'")


if __name__ == "__main__":
    run_by_hand(globals())
