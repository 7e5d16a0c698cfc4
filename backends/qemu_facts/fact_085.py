"""Fact 85: memory without a file is no template."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import cases, experiment
from backends.qemu_facts.lab.outcome import found, same
from backends.qemu_facts.lab.templates import (
    memory_words,
)
from backends.qemu_facts.steps.template import (
    MIB,
    goes_on,
    private,
    refused_to_read,
    shared,
    template,  # noqa: F401 - a resource
)


@experiment(slow=True)
@cases("kind", ["memory-backend-memfd", "memory-backend-ram"])
def memory_without_a_name_is_no_template(template, kind):
    """7.2 leaves it out of the stream all the same: it is lost when the maker ends."""
    template.make(*memory_words(None, share=True, kind=kind))
    with template.start("-S") as vm:
        left_out = vm.version < (8, 2)
    same(template.state.stat().st_size < MIB, left_out)


@experiment(slow=True)
def memory_that_is_not_shared_is_written(template):
    """And the file stays empty; what is written is an ordinary stream with the capability in it."""
    memory = template.directory / "new"
    template.make(*private(memory))
    same((memory.stat().st_blocks, template.state.stat().st_size > MIB), (0, True))
    with template.clone(*private(memory)) as vm:
        goes_on(vm)
    found("should not be migrated", refused_to_read(template, *shared(memory)))


if __name__ == "__main__":
    run_by_hand(globals())
