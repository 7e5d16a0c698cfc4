"""Lines of the human monitor do on a real QEMU what the QEMU commands do that `check` reads them as."""

import pytest

from planner.lint.human import hmp_as_qmp
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.qmp import QmpError
from tests.support.topology import DiskKind, DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

LINES = (
    "block_resize disk0 128",
    "block_resize disk0 256M",
    "snapshot_blkdev_internal disk0 t",
    "snapshot_blkdev_internal disk0 u",
    "snapshot_delete_blkdev_internal disk0 t",
    "migrate_set_capability events on",
    "device_add virtio-rng-pci,id=rng0",
    "snapshot_blkdev -n disk0 {over} qcow2",
    "migrate -d exec:cat>/dev/null",
)


REFUSED = (
    "drive_backup -n -f nope /nonexistent raw",
    "drive_mirror -n nope /nonexistent",
    "snapshot_blkdev -n nope /nonexistent",
    "block_job_cancel nope",
    "block_job_complete nope",
    "device_del nope",
    "migrate_incoming exec:true",
)


def done_to(qemu, send):
    """What a VM of its own looks like after the lines, one by one."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0", DiskKind.DRIVE),)))
    over = vm.directory / "over"
    qemu_img(qemu_img_binary(), "create", "-q", "-f", "qcow2", over, "256M")
    seen = []
    for line in LINES:
        send(vm, line.format(over=over))
        nodes = vm.execute("query-named-block-nodes", flat=True)
        seen.append(
            [
                *sorted((node["drv"], node["image"]["virtual-size"]) for node in nodes),
                sorted(
                    (snapshot["id"], snapshot["name"])
                    for node in nodes
                    for snapshot in node["image"].get("snapshots", ())
                ),
                [c for c in vm.execute("query-migrate-capabilities") if c["state"]],
                "rng0" in str(vm.execute("qom-list", path="/machine/peripheral")),
                "status" in vm.execute("query-migrate"),
            ]
        )
    return seen


def typed_to(vm, line):
    """What the human monitor says."""
    return vm.execute("human-monitor-command", **{"command-line": line}).strip()


def by_human_monitor(vm, line):
    """As it is typed."""
    assert typed_to(vm, line) == ""


def by_qmp(vm, line):
    """As it is read."""
    command, arguments = hmp_as_qmp(line)
    vm.execute(command, **arguments)


def test_a_line_and_its_qmp_command_do_the_same(qemu):
    """After each line two VMs look alike: one was typed to, the other was sent QMP."""
    typed = done_to(qemu, by_human_monitor)
    sent = done_to(qemu, by_qmp)
    for line, one, other in zip(LINES, typed, sent, strict=True):
        assert one == other, line
    assert len({str(each) for each in sent}) == len(LINES), (
        "a line that changes nothing shows nothing"
    )


def test_both_refuse_in_the_same_words(qemu):
    """So it is the same command of QEMU's that runs."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0", DiskKind.DRIVE),)))
    for line in REFUSED:
        with pytest.raises(QmpError) as refused:
            by_qmp(vm, line)
        assert typed_to(vm, line) == f"Error: {refused.value.desc}", line
