"""Fact 137: a shared folder whose daemon cannot give its state."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment, resource
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.outside import SHARED_MEMORY, folder, virtiofsd
from backends.qemu_facts.lab.topology import DiskSpec, Topology


@resource()
def vm(qemu):
    """One with a folder that the virtiofsd of 7.2 shares."""
    with folder() as where, virtiofsd(where) as socket:
        device = ("-device", "vhost-user-fs-pci,chardev=fs,tag=t")
        extra = (*SHARED_MEMORY, "-chardev", f"socket,id=fs,path={socket}", *device)
        yield qemu.start(Topology((DiskSpec("disk0"),), extra_args=extra))


def blocked(vm):
    return vm.execute("query-migrate").get("blocked-reasons", [])


@experiment(before=(8, 0))
def it_blocks_the_migration(vm):
    """Which a save is, too."""
    holds(any("vhost-user-fs" in reason for reason in blocked(vm)), "the device is named")
    holds("vhost-user-fs" in vm.save("a", ["disk0"]), "the save says so, too")


@experiment(since=(8, 0))
def nothing_blocks_and_the_save_fails(vm):
    """When it comes to write the machine state."""
    same(blocked(vm), [])
    error = vm.save("a", ["disk0"]) or ""
    words = "Operation not supported", "pre-save failed: vhost-user-fs-backend"
    holds(any(each in error for each in words), f"it fails at the device: {error}")


if __name__ == "__main__":
    run_by_hand(globals())
