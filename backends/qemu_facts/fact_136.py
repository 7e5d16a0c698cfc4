"""Fact 136: devices that store in a file of their own are in no node."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import found, missing, same
from backends.qemu_facts.lab.topology import DiskSpec, Topology


def start(qemu, *words):
    return qemu.start(Topology((DiskSpec("disk0"),), extra_args=words))


@experiment()
@cases(
    ("device", "uses"),
    [("acpi-erst", "memdev"), ("nvme,serial=a", "pmrdev")],
    ["acpi-erst", "nvme"],
)
def memory_mapped_from_a_file(qemu, tmp_path, device, uses):
    """The device names the memory, which names the file; no node does."""
    size = 64 * 2**10 if uses == "memdev" else 2**20
    memory = f"memory-backend-file,id=kept,size={size},mem-path={tmp_path / 'kept'},share=on"
    vm = start(qemu, "-object", memory, "-device", f"{device},{uses}=kept,id=it")
    named = vm.execute("qom-get", path="/machine/peripheral/it", property=uses)
    path = vm.execute("qom-get", path=named, property="mem-path")
    same((named, path), ("/objects/kept", str(tmp_path / "kept")))
    missing(str(tmp_path), str(vm.execute("query-named-block-nodes")))


@experiment(since=(10, 0))
def a_firmwares_variables(qemu, tmp_path):
    """Their device names the file; a load writes it anew, from the machine state."""
    file = tmp_path / "vars"
    vm = start(qemu, "-device", f"uefi-vars-x64,jsonfile={file},id=vars")
    named = vm.execute("qom-get", path="/machine/peripheral/vars", property="jsonfile")
    same(named, str(file))
    vm.execute("stop")
    same(vm.save("a", ["disk0"]), None)
    file.write_text("of later")
    same(vm.load("a", ["disk0"]), None)
    found("variables", file.read_text())


if __name__ == "__main__":
    run_by_hand(globals())
