"""Fact 90: machine state on a node of its own."""

from backends.qemu_facts.lab import guest, images
from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, missing, same
from backends.qemu_facts.lab.qemu import qemu_img_binary
from backends.qemu_facts.steps.vmstate_node import (
    IMAGE_SET,
    LAYER_SET,
    NODE,
    layered,
    remove_node,
    saved,
)


@experiment()
def machine_state_goes_to_a_node_that_no_guest_uses(qemu):
    """The clocks are one; no disk holds any of it; the image is small, sound, and still 0600."""
    vm, path, _, shown = saved(qemu)
    clocks = {
        name: (held[0]["vm-clock-sec"], held[0]["vm-clock-nsec"])
        for name, held in shown.items()
        if held
    }
    same(set(clocks), {NODE, "disk0", "disk1"})
    same(len(set(clocks.values())), 1)
    sizes = {name: shown[name][0]["vm-state-size"] for name in clocks}
    holds(sizes["disk0"] == sizes["disk1"] == 0 < sizes[NODE])
    same(path.stat().st_mode & 0o777, 0o600)
    holds(path.stat().st_size < 8 * 2**20)
    missing(NODE, vm.nodes())
    same(vm.execute("query-fdsets"), [])
    vm.end()
    images.check(qemu_img_binary(), path)


@experiment()
def one_load_reads_it_with_the_disks(qemu):
    """In the VM itself, and in a fresh QEMU: the guest goes on from the saved instant."""
    vm, path, before, _ = saved(qemu)
    devices = [NODE, "disk0", "disk1"]
    vm.wait_guest(3, since=len(vm.console()))
    later = guest.heartbeats(vm.console())[-1]
    layered(vm, path)
    vm.execute("stop")
    same(vm.load("t", devices), None)
    remove_node(vm, IMAGE_SET, LAYER_SET)
    vm.end()
    (vm.directory / "layer").unlink()
    again = qemu.run(vm, vm.topology, "-S")
    layered(again, path)
    same(again.load("t", devices), None)
    remove_node(again, IMAGE_SET, LAYER_SET)
    again.execute("cont")
    counters = again.wait_guest(3)
    holds(before < counters[0] <= later + guest.HEARTBEAT_ROUNDS)
    missing("start", again.console())


if __name__ == "__main__":
    run_by_hand(globals())
