"""Facts 59 on: what is outside of QEMU's block layer."""

import pytest

from tests.support.outside import SHARED_MEMORY, emulated_tpm, folder, vhost_user_disk
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu


def children(vm, path):
    return {(c["name"], c["type"]) for c in vm.execute("qom-list", path=path)}


def test_fact_59_a_vhost_user_disk_shows_among_the_devices_only(qemu):
    """`query-block` and the list of nodes know nothing of it; `qom-list` does."""
    with vhost_user_disk() as arguments:
        vm = qemu.start(two_disks(extra_args=(*SHARED_MEMORY, *arguments)))
        shown = [entry["qdev"] for entry in vm.execute("query-block")]
        assert not [name for name in shown if "vud0" in name]
        assert ("vud0", "child<vhost-user-blk-pci>") in children(vm, "/machine/peripheral")
        assert (
            vm.execute("qom-get", path="/machine/peripheral/vud0", property="chardev") == "chr-vud0"
        )


def test_fact_59_a_device_without_an_id_has_a_place(qemu):
    """It stands in a list of its own, by number; memory of the host is an object."""
    with folder() as where:
        shared = f"memory-backend-file,id=iv,size=1M,share=on,mem-path={where / 'iv'}"
        ivshmem = ("-object", shared, "-device", "ivshmem-plain,memdev=iv")
        share = ("-fsdev", f"local,id=fs0,path={where},security_model=none")
        arguments = (*ivshmem, *share, "-device", "virtio-9p-pci,fsdev=fs0,mount_tag=t")
        vm = qemu.start(two_disks(extra_args=arguments))
        assert {
            ("device[0]", "child<ivshmem-plain>"),
            ("device[1]", "child<virtio-9p-pci>"),
        } <= children(vm, "/machine/peripheral-anon")
        assert ("iv", "child<memory-backend-file>") in children(vm, "/objects")


def test_fact_59_a_tpm_is_asked_for_by_itself(qemu):
    """`query-tpm` says who keeps its state."""
    with emulated_tpm() as arguments:
        vm = qemu.start(two_disks(extra_args=arguments))
        (tpm,) = vm.execute("query-tpm")
        assert (tpm["id"], tpm["model"], tpm["options"]["type"]) == ("tpm0", "tpm-tis", "emulator")


@pytest.mark.qemu_versions(since=(10, 0))
def test_fact_60_background_is_not_refused_beside_a_vhost_user_disk(qemu):
    """The process behind it writes to memory that is being saved, and QEMU does not mind."""
    with vhost_user_disk() as arguments:
        vm = qemu.start(two_disks(extra_args=(*SHARED_MEMORY, *arguments)))
        vm.execute(
            "migrate-set-capabilities",
            capabilities=[{"capability": "background-snapshot", "state": True}],
        )
        states = vm.execute("query-migrate-capabilities")
        assert {"capability": "background-snapshot", "state": True} in states
        assert not vm.execute("query-migrate").get("blocked-reasons")
