"""Fact 51: a save whose connection is cut."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.qmp import QmpClient
from backends.qemu_facts.lab.topology import two_disks


@experiment()
def save_whose_connection_is_cut_is_done_or_never_began(qemu):
    """Cut right after sending, a save is dropped or runs to its end; asked anew, QEMU tells."""
    vm = qemu.start(two_disks())
    for number in range(12):
        name = f"cut{number}"
        arguments = {"tag": name, "vmstate": "disk0", "devices": ["disk0", "disk1"]}
        cut = vm.connect()
        cut.send("snapshot-save", {"job-id": name, **arguments})
        cut.close()
        again = QmpClient(vm.qmp_path)
        began = name in {job["id"] for job in again.execute("query-jobs")}
        again.close()
        if began:
            same(vm.finish_job(name), None)
        same(vm.execute("query-jobs"), [])
        holds((name in vm.tags("disk0")) == (name in vm.tags("disk1")) == began)


if __name__ == "__main__":
    run_by_hand(globals())
