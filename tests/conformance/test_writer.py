"""The guest of `benchmarks.pause` goes on where its memory was saved, checking each page of it."""

import pytest

from tests.support.writer import start_writer, wait_written, written_mib

pytestmark = pytest.mark.real_qemu
MEMORY_MIB = 32
MIB_PER_S = 400


def test_the_writer_goes_on_where_its_memory_was_saved_and_checks_each_page_of_it():
    with start_writer(MEMORY_MIB, MIB_PER_S) as vm:
        assert vm.run_job("snapshot-save", tag="a", devices=["disk0", "disk1"]) is None
        saved = written_mib(vm.console())
        wait_written(vm, saved + 4 * MEMORY_MIB)
        since = len(vm.console())
        assert vm.run_job("snapshot-load", tag="a", devices=["disk0", "disk1"]) is None
        wait_written(vm, saved + 2 * MEMORY_MIB, since=since)
        assert written_mib(vm.console()[since:].split()[1]) <= saved + 2 * MEMORY_MIB
