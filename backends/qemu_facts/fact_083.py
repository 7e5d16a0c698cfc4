"""Fact 83: a balloon punches holes into a template."""

from backends.qemu_facts.lab.balloon import BALLOON, inflate, qtest_words
from backends.qemu_facts.lab.by_hand import run_by_hand
from backends.qemu_facts.lab.experiment import experiment, resource
from backends.qemu_facts.lab.outcome import found, same
from backends.qemu_facts.lab.templates import (
    Templates,
)
from backends.qemu_facts.steps.template import (
    A_PAGE_OF_THE_GUEST,
    next_clone_fails,
    private,
    shared,
    template,  # noqa: F401 - a resource
    unchanged,
)


@resource()
def with_balloon(tmp_path):
    template = Templates(tmp_path / "balloon")
    template.directory.mkdir()
    template.save_source(*BALLOON)
    template.make(*shared(template.memory), *BALLOON)
    return template


def inflated(template, tmp_path, more=""):
    """Give a page of a clone to its balloon; what QEMU wrote."""
    channel = tmp_path / "qtest"
    words = (*private(template.memory, more=more), *BALLOON, *qtest_words(channel))
    with template.clone(*words) as vm:
        inflate(vm, channel, A_PAGE_OF_THE_GUEST)
        return vm.stderr()


@experiment()
def a_balloon_punches_holes_into_the_template(with_balloon, tmp_path):
    """Though it is mapped private: the next clone lacks that page."""
    inflated(with_balloon, tmp_path)
    with with_balloon.memory.open("rb") as memory:
        memory.seek(A_PAGE_OF_THE_GUEST)
        same(memory.read(4096), bytes(4096))
    found("FAIL ram", next_clone_fails(with_balloon, *BALLOON))


@experiment(since=(8, 2))
def not_into_a_file_that_is_open_to_be_read(with_balloon, tmp_path):
    with unchanged(with_balloon.memory):
        said = inflated(with_balloon, tmp_path, ",readonly=on,rom=off")
    found("Discarding RAM with readonly files is not supported", said)


if __name__ == "__main__":
    run_by_hand(globals())
