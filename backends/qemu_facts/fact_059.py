"""Fact 59: where devices of other processes are shown."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, holds, same
from backends.qemu_facts.lab.outside import (
    SHARED_MEMORY,
    emulated_tpm,
    folder,
    vhost_user_disk,
)
from backends.qemu_facts.lab.topology import two_disks


def children(vm, path):
    return {(c["name"], c["type"]) for c in vm.execute("qom-list", path=path)}


@experiment()
def a_vhost_user_disk_shows_among_the_devices_only(qemu):
    """`query-block` and the list of nodes know nothing of it; `qom-list` does."""
    with vhost_user_disk() as arguments:
        vm = qemu.start(two_disks(extra_args=(*SHARED_MEMORY, *arguments)))
        shown = [entry["qdev"] for entry in vm.execute("query-block")]
        holds(not [name for name in shown if "vud0" in name])
        found(("vud0", "child<vhost-user-blk-pci>"), children(vm, "/machine/peripheral"))
        same(vm.execute("qom-get", path="/machine/peripheral/vud0", property="chardev"), "chr-vud0")


@experiment()
def a_device_without_an_id_has_a_place(qemu):
    """It stands in a list of its own, by number; memory of the host is an object."""
    with folder() as where:
        shared = f"memory-backend-file,id=iv,size=1M,share=on,mem-path={where / 'iv'}"
        ivshmem = ("-object", shared, "-device", "ivshmem-plain,memdev=iv")
        share = ("-fsdev", f"local,id=fs0,path={where},security_model=none")
        arguments = (*ivshmem, *share, "-device", "virtio-9p-pci,fsdev=fs0,mount_tag=t")
        vm = qemu.start(two_disks(extra_args=arguments))
        holds(
            {
                ("device[0]", "child<ivshmem-plain>"),
                ("device[1]", "child<virtio-9p-pci>"),
            }
            <= children(vm, "/machine/peripheral-anon")
        )
        found(("iv", "child<memory-backend-file>"), children(vm, "/objects"))


@experiment()
def a_tpm_is_asked_for_by_itself(qemu):
    """`query-tpm` says who keeps its state."""
    with emulated_tpm() as arguments:
        vm = qemu.start(two_disks(extra_args=arguments))
        (tpm,) = vm.execute("query-tpm")
        same((tpm["id"], tpm["model"], tpm["options"]["type"]), ("tpm0", "tpm-tis", "emulator"))


if __name__ == "__main__":
    run_by_hand(globals())
