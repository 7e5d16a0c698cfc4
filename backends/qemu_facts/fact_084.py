"""Fact 84: memory that is opened for reading only."""

import os
from pathlib import Path

from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment
from backends.qemu_facts.lab.outcome import found, same
from backends.qemu_facts.steps.template import (
    goes_on,
    private,
    refused_to_start,
    template,  # noqa: F401 - a resource
    unchanged,
)


@experiment(since=(8, 2))
def opened_to_be_read_it_is_memory_all_the_same(template):
    with unchanged(template.memory):
        words = private(template.memory, more=",readonly=on,rom=off")
        with template.clone(*words) as vm:
            goes_on(vm)
            open_as = {
                Path(f"/proc/{vm.process.pid}/fdinfo", fd.name).read_text().split("\n")[1]
                for fd in Path(f"/proc/{vm.process.pid}/fd").iterdir()
                if fd.exists() and fd.samefile(template.memory)
            }
    same({int(line.split()[1], 8) & os.O_ACCMODE for line in open_as}, {os.O_RDONLY})


@experiment(before=(8, 2), slow=True)
def before_8_2_there_is_no_such_option(template):
    words = private(template.memory, more=",readonly=on,rom=off")
    found("Invalid parameter 'rom'", refused_to_start(template, *words))


@experiment(slow=True)
def without_it_the_guest_cannot_write(template):
    """It loads, `cont` is accepted, and nothing comes of it; the first write repeats for ever."""
    with template.clone(*private(template.memory, more=",readonly=on")) as vm:
        vm.execute("cont")
        same(vm.status(), "running")
        same(vm.process.poll(), None)
        same(vm.console(), "")


if __name__ == "__main__":
    run_by_hand(globals())
