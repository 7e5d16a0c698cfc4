"""Fact 79: what readers of a template refuse."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import migrate_to, set_capabilities
from backends.qemu_facts.lab.outcome import found, raises, same
from backends.qemu_facts.lab.qmp import QmpClosed, QmpError
from backends.qemu_facts.lab.templates import (
    IGNORE_SHARED,
    MEMORY_MIB,
    read_state,
)
from backends.qemu_facts.steps.template import (
    MIB,
    private,
    refused_to_read,
    refused_to_start,
    shared,
    template,  # noqa: F401 - a resource
)


@experiment()
def the_capability_is_wanted_on_both_sides(template):
    """It is in the stream, and QEMU ends over the difference, either way."""
    words = private(template.memory)
    said = refused_to_read(template, *words, names=())
    found("Capability x-ignore-shared is off, but received capability is on", said)
    template.make(names=())
    said = refused_to_read(template, *words)
    found("Capability x-ignore-shared is on, but received capability is off", said)


@experiment(slow=True)
def a_maker_that_has_it_on_cannot_read_the_source(template):
    """The source's stream was written without."""
    with template.waiting(*shared(template.directory / "new")) as vm:
        with raises(QmpClosed):
            read_state(vm, template.stream, IGNORE_SHARED)
        same(vm.wait_death(), 1)


@experiment(slow=True)
def nothing_can_be_written_before_it_was_read(template):
    with template.waiting(*shared(template.directory / "new")) as vm:
        set_capabilities(vm, IGNORE_SHARED)
        with raises(QmpError, match="Guest is waiting for an incoming migration"):
            migrate_to(vm, template.directory / "early")


@experiment(slow=True)
def a_file_that_is_too_small_or_of_another_name(template):
    """Too small: QEMU does not start, as if the object has another size than the VM."""
    with template.memory.open("r+b") as memory:
        memory.truncate(MEMORY_MIB * MIB // 2)
    found("backing store size", refused_to_start(template, *private(template.memory)))
    words = private(template.directory / "new", mib=96)
    found("Machine memory size does not match", refused_to_start(template, *words))
    said = refused_to_read(template, *private(template.directory / "other", name="mem0"))
    found('Unknown ramblock "pc.ram", cannot accept migration', said)


if __name__ == "__main__":
    run_by_hand(globals())
