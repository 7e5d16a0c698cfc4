"""Fact 46: how firmware drives are shown."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import same
from backends.qemu_facts.lab.topology import DiskKind, DiskSpec, Topology
from backends.qemu_facts.lab.vm import internal


@experiment()
def query_block_shows_pflash(qemu):
    """Firmware drives are in query-block, with the machine's own path and no drive id."""
    firmware = DiskSpec("vars", DiskKind.RAW, size_bytes=4 * 2**20, device="pflash")
    code = DiskSpec("code", DiskKind.RAW, size_bytes=4 * 2**20, device="pflash")
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"), code, firmware), paused=True))
    shown = {block["inserted"]["node-name"]: block for block in vm.execute("query-block")}
    same(shown["code"]["qdev"], "/machine/system.flash0")
    same(shown["vars"]["qdev"], "/machine/system.flash1")
    same(shown["vars"]["device"], "")
    same(
        vm.refused_transaction(internal("vars", "a")),
        "Block format 'raw' used by device 'vars' does not support internal snapshots",
    )


if __name__ == "__main__":
    run_by_hand(globals())
