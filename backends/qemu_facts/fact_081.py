"""Fact 81: nothing ties a template's state to its memory."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, same
from backends.qemu_facts.lab.templates import (
    MEMORY_MIB,
)
from backends.qemu_facts.steps.template import (
    A_PAGE_OF_THE_GUEST,
    MIB,
    goes_on,
    private,
    refused_to_read,
    template,  # noqa: F401 - a resource
)


@experiment()
def memory_of_another_content_is_mapped_without_a_word(template):
    """A byte of it, or all of it: nothing in the state says which memory it belongs to."""
    with template.memory.open("r+b") as memory:
        memory.seek(A_PAGE_OF_THE_GUEST)
        memory.write(b"\xee")
    with template.clone() as vm:
        vm.execute("cont")
        found("FAIL ram", vm.wait_guest_fails())


@experiment(slow=True)
def a_file_that_is_too_big_is_mapped(template):
    with template.memory.open("ab") as memory:
        memory.write(bytes(MIB))
    with template.clone() as vm:
        goes_on(vm)


@experiment(slow=True)
def a_file_that_is_not_there_is_made(template):
    """Of zeros. What comes of it depends on the devices: these look into memory, and fail."""
    template.memory.unlink()
    with template.waiting(*private(template.memory)):
        same(template.memory.stat().st_size, MEMORY_MIB * MIB)
        same(template.memory.stat().st_blocks, 0)
    found("load of migration failed", refused_to_read(template, *private(template.memory)))


if __name__ == "__main__":
    run_by_hand(globals())
