"""Fact 87: what a clone's memory costs."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import holds, same
from backends.qemu_facts.lab.templates import (
    MEMORY_MIB,
    mapped_kib,
)
from backends.qemu_facts.steps.template import (
    goes_on,
    private,
    template,  # noqa: F401 - a resource
)


@experiment()
def a_clone_has_no_page_of_its_own_until_it_writes(template):
    """And `prealloc` gives it all of them, as a copy."""
    with template.clone() as vm:
        same(mapped_kib(vm, template.memory, "Anonymous"), 0)
        holds(mapped_kib(vm, template.memory, "Rss") < 1024)
        goes_on(vm)
        holds(0 < mapped_kib(vm, template.memory, "Anonymous") < 8 * 1024)
    with template.clone(*private(template.memory, more=",prealloc=on")) as vm:
        same(mapped_kib(vm, template.memory, "Anonymous"), MEMORY_MIB * 1024)


if __name__ == "__main__":
    run_by_hand(globals())
