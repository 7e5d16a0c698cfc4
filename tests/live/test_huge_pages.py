"""`apply --huge-pages`: after the snapshot, while the guest runs, its memory is in huge pages again."""

import pytest

from planner.host.huge_pages import join_huge_pages
from tests.live.external import external_request, start_mixed
from tests.live.runs import as_json, snapplan

pytestmark = pytest.mark.real_qemu

MIB = 1 << 20


@pytest.mark.parametrize(
    "capture",
    ["stopped", pytest.param("background", marks=pytest.mark.qemu_versions(since=(10, 0)))],
)
def test_memory_is_joined_after_the_snapshot_and_the_guest_runs_on(qemu, capture):
    """Nothing of the guest changes; where this Linux cannot, the snapshot is made all the same."""
    vm = start_mixed(qemu)
    words = ("apply", "-", "--vm", vm.qmp_path, "--huge-pages", "--json")
    found = as_json(snapplan(*words, text=external_request(vm, capture)))
    joined = found["huge-pages"]
    assert joined["note"] or int(joined["after-bytes"]) >= max(int(joined["before-bytes"]), MIB)
    vm.wait_guest(2, since=len(vm.console()))


def test_a_person_reads_it_in_a_line(qemu):
    vm = start_mixed(qemu)
    words = ("apply", "-", "--vm", vm.qmp_path, "--huge-pages")
    done = snapplan(*words, text=external_request(vm, "stopped"))
    assert done.returncode == 0, done.stderr
    assert "huge pages" in done.stdout.splitlines()[-1]


def test_a_qemu_that_has_ended_is_said_to_be_gone(qemu):
    vm = start_mixed(qemu)
    vm.end()
    assert "no process that can be seen" in join_huge_pages(vm.process.pid).note
