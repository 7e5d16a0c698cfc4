"""Fact 47: how a disk's device is shown."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology


@experiment()
def qdev_of_each_device(target):
    """Virtio shows its backend's path, SCSI and IDE their id, and only `-drive` a device name."""
    disks = (
        *(DiskSpec("virtio"), DiskSpec("scsi", device="scsi-hd"), DiskSpec("ide", device="ide-hd")),
        *(DiskSpec("drive", DiskKind.DRIVE), DiskSpec("free", DiskKind.UNATTACHED)),
    )
    vm = target.start(Topology(disks=disks))
    blocks = vm.execute("query-block")
    shown = {block["device"] or block["inserted"]["node-name"]: block["qdev"] for block in blocks}
    holds(shown.pop("drive").startswith("/machine/peripheral-anon/device["))
    same(
        shown,
        {
            "virtio": "/machine/peripheral/virtio-device/virtio-backend",
            "scsi": "scsi-device",
            "ide": "ide-device",
        },
    )


if __name__ == "__main__":
    run_by_hand(globals())
