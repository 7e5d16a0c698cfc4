"""Fact 80: a restore that shares writes into the template."""

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import differs, holds
from backends.qemu_facts.steps.template import (
    goes_on,
    next_clone_fails,
    shared,
    template,  # noqa: F401 - a resource
)


@experiment()
def a_restore_that_shares_writes_into_the_template(template):
    """It runs, and right; the next clone finds the memory of a guest that ran on."""
    before = template.memory.read_bytes()
    with template.clone(*shared(template.memory)) as vm:
        goes_on(vm)
    differs(template.memory.read_bytes(), before)
    holds(next_clone_fails(template))


if __name__ == "__main__":
    run_by_hand(globals())
