"""Fact 67: reference counts limit the snapshots of an image."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import case, cases, experiment
from backends.qemu_facts.lab.images import qemu_img
from backends.qemu_facts.lab.outcome import raises, same
from backends.qemu_facts.lab.outside import (
    disk_of_kind,
)
from backends.qemu_facts.lab.qemu import qemu_img_binary
from backends.qemu_facts.lab.qmp import QmpError
from backends.qemu_facts.lab.topology import two_disks
from backends.qemu_facts.lab.vm import internal


@experiment()
@cases("bits", [1, 2])
def narrow_reference_counts_have_room_for_few_snapshots(qemu, bits):
    """2^N - 2 of them, and the next fails after the guest was stopped."""
    with disk_of_kind(f"refcount_bits={bits}", written=True) as (arguments, _):
        vm = qemu.start(two_disks(extra_args=arguments))
        for number in range(2**bits - 2):
            vm.transaction(internal("kind0", f"a{number}"))
        with raises(QmpError, match=r"Failed to create snapshot .*: Invalid argument"):
            vm.transaction(internal("kind0", "b"))
        same(vm.save("c", ["disk0", "kind0"]), "Could not create snapshot 'c' on 'kind0'")
        same(vm.tags("kind0"), [f"a{number}" for number in range(2**bits - 2)])


@experiment(slow=True)
def reference_counts_can_be_widened(qemu):
    """Offline, and the snapshots stay."""
    with disk_of_kind("refcount_bits=1", written=True) as (arguments, image):
        qemu_img(qemu_img_binary(), "amend", "-f", "qcow2", "-o", "refcount_bits=16", image)
        vm = qemu.start(two_disks(extra_args=arguments))
        same(vm.save("a", ["kind0", "disk0"]), None)
        same(vm.load("a", ["kind0", "disk0"]), None)


@experiment()
@cases(
    "options",
    [
        "compat=0.10",
        case("lazy_refcounts=on", slow=True),
        case("extended_l2=on", slow=True),
        case("cluster_size=512", slow=True),
        case("compression_type=zstd", slow=True),
    ],
)
def other_kinds_of_image_hold_everything(qemu, options):
    """Machine state too."""
    with disk_of_kind(options, written=True) as (arguments, _):
        vm = qemu.start(two_disks(extra_args=arguments))
        same(vm.save("a", ["kind0", "disk0"]), None)
        same(vm.load("a", ["kind0", "disk0"]), None)


if __name__ == "__main__":
    run_by_hand(globals())
