"""Fact 88: vmgenid in clones."""

import uuid

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import found, same
from backends.qemu_facts.lab.templates import (
    MEMORY_MIB,
    Templates,
)
from backends.qemu_facts.steps.template import (
    MIB,
    private,
    shared,
)


@experiment(slow=True)
@cases(("guid", "in_all"), [("auto", False), (str(uuid.uuid4()), True)])
def vmgenid_is_what_the_clone_was_given(tmp_path, guid, in_all):
    """`auto`: another one in each clone, and in its memory. Spelt out: the same in all."""
    device = ("-device", f"vmgenid,id=vmgenid0,guid={guid}")
    template = Templates(tmp_path)
    template.save_source(*device)
    template.make(*shared(template.memory), *device)
    seen = []
    for number in range(2):
        with template.clone(*private(template.memory), *device) as vm:
            seen.append(vm.execute("query-vm-generation-id")["guid"])
            dump = tmp_path / f"dump{number}"
            vm.execute("pmemsave", val=0, size=MEMORY_MIB * MIB, filename=str(dump))
            found(uuid.UUID(seen[-1]).bytes_le, dump.read_bytes())
    same(seen[0] == seen[1], in_all)


if __name__ == "__main__":
    run_by_hand(globals())
