"""What the model says of memory in a file, against real QEMU: all combinations of both sides."""

import contextlib
import itertools

import pytest

from planner.semantics.memory_files import (
    MappedMemory,
    MemoryHost,
    QemuRefuses,
    StateFile,
    memory_of_qemu,
    read_stream,
    run_guest,
    set_ignore_shared,
    start_qemu,
    write_stream,
)
from tests.support.migration import migrate_to, set_capabilities, wait_migration
from tests.support.qmp import QmpClosed
from tests.support.templates import IGNORE_SHARED, Templates, memory_words, read_state

INSTANT = (1, 1)
SIDES = list(itertools.product((False, True), repeat=4))


def in_the_model(made_shared, made_on, shared, on):
    """What a clone comes to, whether it changed the file, and whether the memory was left out."""
    host = MemoryHost(states={"source": StateFile(1, INSTANT, ignores_shared=False)})
    host = start_qemu(host, "maker", MappedMemory("pc.ram", "ram", share=made_shared))
    host = read_stream(host, "maker", "source", "pc.ram")
    host = set_ignore_shared(host, "maker", on=made_on)
    host = write_stream(host, "maker", "state")
    left_out = host.states["state"].memory is None
    made = host.ram["ram"].pages
    host = start_qemu(host, "clone", MappedMemory("pc.ram", "ram", share=shared))
    host = set_ignore_shared(host, "clone", on=on)
    try:
        host = read_stream(host, "clone", "state", "pc.ram")
    except QemuRefuses as refused:
        return str(refused), host.ram["ram"].pages != made, left_out
    right = memory_of_qemu(host, "clone") == INSTANT
    host = run_guest(host, "clone")
    return ("runs" if right else "wrong"), host.ram["ram"].pages != made, left_out


def in_qemu(template, made_shared, made_on, shared, on):
    """The same with a real one."""
    with template.waiting(*memory_words(template.memory, share=made_shared)) as maker:
        read_state(maker, template.stream)
        set_capabilities(maker, *((IGNORE_SHARED,) if made_on else ()))
        wait_migration(maker, "completed", since=migrate_to(maker, template.state))
        maker.end()
    made = template.memory.read_bytes()
    left_out = template.state.stat().st_size < 1 << 20
    with template.waiting(*memory_words(template.memory, share=shared)) as clone:
        with contextlib.suppress(QmpClosed):
            read_state(clone, template.state, *((IGNORE_SHARED,) if on else ()))
            clone.execute("cont")
            clone.wait_guest(2)
            return "runs", template.memory.read_bytes() != made, left_out
        clone.wait_death()
        return clone.stderr(), template.memory.read_bytes() != made, left_out


@pytest.mark.long
@pytest.mark.real_qemu
@pytest.mark.parametrize("sides", SIDES, ids=str)
def test_the_model_says_what_qemu_does(tmp_path, sides):
    """Whether a maker and a clone share, and whether they have the capability on."""
    template = Templates(tmp_path)
    template.save_source()
    said, changed, left_out = in_the_model(*sides)
    found, really_changed, really_left_out = in_qemu(template, *sides)
    assert said in found
    assert (changed, left_out) == (really_changed, really_left_out)


def test_the_model_has_both_outcomes():
    """It says of none that it is wrong: with the right file, QEMU reads right or not at all."""
    outcomes = [in_the_model(*sides) for sides in SIDES]
    assert {said.split()[0] for said, _, _ in outcomes} == {"runs", "Capability", "block"}
    assert {changed for _, changed, _ in outcomes} == {False, True}
