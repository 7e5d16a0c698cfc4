"""Facts 59 on: what is outside of QEMU's block layer, and what an image cannot hold."""

import os

import pytest

from tests.support.fixtures import long
from tests.support.images import qemu_img
from tests.support.outside import (
    SHARED_MEMORY,
    disk_of_kind,
    emulated_tpm,
    encrypted_disk,
    folder,
    memory_in,
    open_to_nobody,
    vhost_user_disk,
)
from tests.support.qemu import qemu_img_binary
from tests.support.qmp import QmpError
from tests.support.topology import two_disks
from tests.support.vm import internal

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


def test_fact_66_machine_state_in_an_encrypted_image_ends_qemu(qemu):
    """Its assertion about aligned lengths fails, whatever the guest does."""
    with encrypted_disk() as arguments:
        vm = qemu.start(two_disks(extra_args=arguments))
        vm.qmp.send(
            "snapshot-save",
            {"job-id": "save", "tag": "a", "vmstate": "secret0", "devices": ["secret0", "disk0"]},
        )
        assert vm.wait_death() == -6, "SIGABRT"
        assert "qcow2_co_encdec: Assertion" in vm.stderr()


def test_fact_66_an_encrypted_image_holds_a_part(qemu):
    """Without machine state it is saved and loaded like any other."""
    with encrypted_disk() as arguments:
        vm = qemu.start(two_disks(extra_args=arguments))
        nodes = vm.execute("query-named-block-nodes", flat=True)
        assert next(n for n in nodes if n["node-name"] == "secret0")["encrypted"] is True
        assert vm.save("a", ["disk0", "secret0"]) is None
        assert vm.load("a", ["disk0", "secret0"]) is None


def test_fact_66_a_qcow2_image_in_a_luks_container_holds_machine_state(qemu):
    """There the encryption is below, and nothing has to be aligned."""
    with encrypted_disk(container=True) as arguments:
        vm = qemu.start(two_disks(extra_args=arguments))
        nodes = vm.execute("query-named-block-nodes", flat=True)
        assert next(n for n in nodes if n["node-name"] == "secret0")["encrypted"] is False
        assert vm.save("a", ["secret0", "disk0"]) is None
        assert vm.load("a", ["secret0", "disk0"]) is None


@pytest.mark.parametrize("bits", [1, 2])
def test_fact_67_narrow_reference_counts_have_room_for_few_snapshots(qemu, bits):
    """2^N - 2 of them, and the next fails after the guest was stopped."""
    with disk_of_kind(f"refcount_bits={bits}", written=True) as (arguments, _):
        vm = qemu.start(two_disks(extra_args=arguments))
        for number in range(2**bits - 2):
            vm.transaction(internal("kind0", f"a{number}"))
        with pytest.raises(QmpError, match=r"Failed to create snapshot .*: Invalid argument"):
            vm.transaction(internal("kind0", "b"))
        assert vm.save("c", ["disk0", "kind0"]) == "Could not create snapshot 'c' on 'kind0'"
        assert vm.tags("kind0") == [f"a{number}" for number in range(2**bits - 2)]


@pytest.mark.long
def test_fact_67_reference_counts_can_be_widened(qemu):
    """Offline, and the snapshots stay."""
    with disk_of_kind("refcount_bits=1", written=True) as (arguments, image):
        qemu_img(qemu_img_binary(), "amend", "-f", "qcow2", "-o", "refcount_bits=16", image)
        vm = qemu.start(two_disks(extra_args=arguments))
        assert vm.save("a", ["kind0", "disk0"]) is None
        assert vm.load("a", ["kind0", "disk0"]) is None


@pytest.mark.parametrize(
    "options",
    [
        "compat=0.10",
        *long("lazy_refcounts=on", "extended_l2=on", "cluster_size=512", "compression_type=zstd"),
    ],
)
def test_fact_67_other_kinds_of_image_hold_everything(qemu, options):
    """Machine state too."""
    with disk_of_kind(options, written=True) as (arguments, _):
        vm = qemu.start(two_disks(extra_args=arguments))
        assert vm.save("a", ["kind0", "disk0"]) is None
        assert vm.load("a", ["kind0", "disk0"]) is None


BACKGROUND = [{"capability": "background-snapshot", "state": True}]


@pytest.mark.qemu_versions(since=(10, 0))
@pytest.mark.parametrize("place", ["memfd", "shm", "disk"])
def test_fact_63_memory_that_is_mapped_from_a_disk_cannot_be_tracked(qemu, place):
    """A file on a disk is refused as soon as the capability is set; memory and tmpfs are not."""
    with memory_in(place) as (arguments, filesystem):
        vm = qemu.start(two_disks(extra_args=arguments))
        if filesystem in ("memfd", "tmpfs"):
            vm.execute("migrate-set-capabilities", capabilities=BACKGROUND)
            return
        with pytest.raises(QmpError, match="not compatible with guest memory configuration"):
            vm.execute("migrate-set-capabilities", capabilities=BACKGROUND)


@pytest.mark.qemu_versions(since=(10, 0))
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its permissions")
def test_fact_63_who_may_not_use_userfaultfd_captures_nothing(qemu):
    """QEMU calls that the host's kernel."""
    vm = qemu.start(two_disks(extra_args=("-run-with", "user=nobody")))
    if open_to_nobody():
        vm.execute("migrate-set-capabilities", capabilities=BACKGROUND)
        return
    with pytest.raises(QmpError, match="not supported by host kernel"):
        vm.execute("migrate-set-capabilities", capabilities=BACKGROUND)
