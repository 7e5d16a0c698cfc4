"""A copy of a disk by `blockdev-backup`, and its end."""

from backends.qemu_facts.lab.outcome import same

SLOW = 2**16


def add_target(vm, rules=()):
    """Give QEMU a new image to copy to, as the node `copy`; its writes fail as the rules say."""
    path = vm.create_image("copy.qcow2")
    file = {"driver": "file", "filename": str(path)}
    if rules:
        file = {"driver": "blkdebug", "image": file, "inject-error": list(rules)}
    vm.execute("blockdev-add", {"driver": "qcow2", "node-name": "copy", "file": file})
    return path


def copying(vm, *actions, **more):
    """A guest that stands, and of which `disk0` begins to be copied; the mark of before."""
    vm.wait_guest(2)
    vm.execute("stop")
    mark = vm.qmp.mark()
    data = {"job-id": "copy", "device": "disk0", "target": "copy", "sync": "full"}
    data |= {
        "auto-dismiss": False,
        "speed": SLOW,
        **{k.replace("_", "-"): v for k, v in more.items()},
    }
    same(vm.transaction(*actions, ("blockdev-backup", data)), {})
    return mark


def concluded(vm, mark):
    """Wait for the copy's end; what QEMU says of its job then."""
    vm.wait_event(
        "JOB_STATUS_CHANGE",
        lambda data: data == {"status": "concluded", "id": "copy"},
        since=mark,
        timeout_s=120,
    )
    [job] = vm.execute("query-jobs")
    return job
