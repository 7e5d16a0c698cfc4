"""Templates and clones, and whether their guests go on."""

import contextlib
import shutil
import subprocess

from backends.qemu_facts.lab.experiment import resource
from backends.qemu_facts.lab.outcome import raises, same
from backends.qemu_facts.lab.qemu import command_line, qemu_binary
from backends.qemu_facts.lab.qmp import QmpClosed
from backends.qemu_facts.lab.templates import (
    IGNORE_SHARED,
    Templates,
    memory_words,
    read_state,
)

MIB = 1 << 20


A_PAGE_OF_THE_GUEST = 0x30000
"""It demands its own counter there."""


@resource(kept=True)
def shared_template(tmp_path):
    """Made once; who changes its memory does so with a copy."""
    template = Templates(tmp_path)
    template.save_source()
    template.make()
    return template


@resource()
def template(shared_template, tmp_path):
    """A template whose files are the test's own."""
    mine = Templates(tmp_path / "mine")
    shutil.copytree(shared_template.directory, mine.directory)
    return mine


def private(memory, **more):
    return memory_words(memory, share=False, **more)


def shared(memory, **more):
    return memory_words(memory, share=True, **more)


def goes_on(vm):
    """Let the guest run, and judge what it finds in its memory and on its disks."""
    since = len(vm.console())
    vm.execute("cont")
    return vm.wait_guest(2, since=since)


def refused_to_read(template, *words, names=(IGNORE_SHARED,)):
    """What QEMU wrote when it ended over the template's state."""
    with template.waiting(*words) as vm:
        with raises(QmpClosed):
            read_state(vm, template.state, *names)
        same(vm.wait_death(), 1)
        return vm.stderr()


def refused_to_start(template, *words):
    """What QEMU wrote when it did not even start."""
    arguments = [*command_line(template.directory, template.topology), *words, "-S"]
    done = subprocess.run(
        [qemu_binary(), *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    same(done.returncode, 1)
    return done.stderr


@contextlib.contextmanager
def unchanged(memory):
    """What is done here leaves a file's bytes as they are."""
    before = memory.read_bytes()
    yield
    same(memory.read_bytes(), before)


def next_clone_fails(template, *words):
    """Whether a clone refuses the memory, or runs on it and finds it wrong."""
    with template.waiting(*private(template.memory), *words) as vm:
        with contextlib.suppress(QmpClosed):
            read_state(vm, template.state, IGNORE_SHARED)
            vm.execute("cont")
            return vm.wait_guest_fails()
        return vm.stderr()
