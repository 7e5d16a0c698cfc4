"""Fact 82: who changes a template's memory."""

import os
import shutil

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.migration import migrate_to, set_capabilities, wait_migration
from backends.qemu_facts.lab.outcome import differs, found, holds, raises, same
from backends.qemu_facts.lab.qmp import QmpClosed
from backends.qemu_facts.lab.templates import (
    IGNORE_SHARED,
    read_state,
)
from backends.qemu_facts.steps.template import (
    A_PAGE_OF_THE_GUEST,
    goes_on,
    private,
    shared,
    template,  # noqa: F401 - a resource
    unchanged,
)


@experiment()
def a_maker_that_runs_on_changes_the_memory_that_it_wrote(template):
    """`cont` after `migrate` is accepted."""
    with template.waiting(*shared(template.directory / "new")) as vm:
        read_state(vm, template.stream)
        set_capabilities(vm, IGNORE_SHARED)
        wait_migration(vm, "completed", since=migrate_to(vm, template.state))
        before = (template.directory / "new").read_bytes()
        goes_on(vm)
    differs((template.directory / "new").read_bytes(), before)


@experiment(slow=True)
def clones_see_what_is_written_to_the_file(template):
    """In the pages that they have not written themselves; a name that goes does not matter."""
    with template.clone() as vm:
        with template.memory.open("r+b") as memory:
            memory.seek(A_PAGE_OF_THE_GUEST)
            memory.write(b"\xee")
        vm.execute("cont")
        found("FAIL ram", vm.wait_guest_fails())


@experiment(slow=True)
def without_its_name_it_is_still_there_and_cut_short_it_kills(template):
    other = template.directory / "other"
    shutil.copy(template.memory, other)
    with template.clone(*private(other)) as vm:
        other.unlink()
        goes_on(vm)
    with template.clone() as vm:
        os.truncate(template.memory, 0)
        with raises(QmpClosed):
            goes_on(vm)
        holds(vm.wait_death() < 0)


@experiment(slow=True)
def discard_data_empties_what_is_shared(template):
    """When QEMU ends; what is mapped private it leaves alone."""
    words = private(template.memory, more=",discard-data=on")
    with unchanged(template.memory), template.clone(*words) as vm:
        vm.end()
    with template.clone(*shared(template.memory, more=",discard-data=on")) as vm:
        vm.end()
    same(template.memory.stat().st_blocks, 0)


if __name__ == "__main__":
    run_by_hand(globals())
