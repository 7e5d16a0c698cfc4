"""Fact 78: a template, and clones of it."""

import contextlib

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.templates import (
    MEMORY_MIB,
    Templates,
    memory_words,
)
from backends.qemu_facts.steps.template import (
    MIB,
    goes_on,
    shared_template,  # noqa: F401 - a resource
    template,  # noqa: F401 - a resource
    unchanged,
)


@experiment()
def clones_run_at_once_and_leave_the_memory_as_it_is(template):
    """Three, on one file, each in its own memory; the state is small."""
    holds(template.state.stat().st_size < MIB < template.stream.stat().st_size)
    file = template.memory.stat()
    same((file.st_size, file.st_mode & 0o777), (MEMORY_MIB * MIB, 0o600))
    with unchanged(template.memory), contextlib.ExitStack() as running:
        clones = [running.enter_context(template.clone()) for _ in range(3)]
        said = [goes_on(clone) for clone in clones]
        holds(said[0][:2] == said[1][:2] == said[2][:2], "each goes on from the same instant")


@experiment(slow=True)
def what_the_guest_never_had_takes_no_room(shared_template):
    """The file is sparse."""
    file = shared_template.memory.stat()
    holds(file.st_blocks * 512 < file.st_size // 2)


@experiment(since=(8, 2), slow=True)
def from_a_stream_captured_in_the_background(tmp_path):
    template = Templates(tmp_path)
    template.save_source(names=("background-snapshot",))
    template.make()
    with template.clone() as vm:
        goes_on(vm)


@experiment(slow=True)
def the_ids_that_machines_give_their_memory(shared_template):
    """`query-machines` knows: `pc.ram` on every pc and q35, another on microvm, some have none."""
    with shared_template.start("-S") as vm:
        ids = {
            machine["name"]: machine.get("default-ram-id")
            for machine in vm.execute("query-machines")
        }
        own = [memory["id"] for memory in vm.execute("query-memdev")]
    holds(own == ["pc.ram"], "made by QEMU, under the machine's name for it")
    same({ids["microvm"], ids["none"], ids["x-remote"]}, {"microvm.ram", "ram", None})
    same({ram for name, ram in ids.items() if name.startswith("pc-")}, {"pc.ram"})


@experiment(slow=True)
def memory_that_has_objects_already(template):
    """Two nodes, an object each: two files, and the state is as small."""

    def nodes(kind, *, share):
        for number in range(2):
            file = template.directory / f"ram{number}" if kind.endswith("file") else None
            words = memory_words(file, share=share, kind=kind, name=f"m{number}", mib=32)
            yield from (*words[:2], "-numa", f"node,nodeid={number},cpus={number},memdev=m{number}")

    two = ("-smp", "2")
    template.save_source(*two, *nodes("memory-backend-ram", share=False))
    template.make(*two, *nodes("memory-backend-file", share=True))
    holds(template.state.stat().st_size < MIB)
    with template.clone(*two, *nodes("memory-backend-file", share=False)) as vm:
        goes_on(vm)


if __name__ == "__main__":
    run_by_hand(globals())
