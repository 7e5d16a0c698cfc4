"""No room on the disk: for the stream, the overlay, the machine state in an image, the journal.

A limit on how large a process may make a file (`RLIMIT_FSIZE`) stands for a full disk: the write that
would go beyond it fails, and nobody else's disk is filled.
"""

import contextlib
import resource
import subprocess

import pytest

from planner.run.phases import Phase
from tests.live.external import DISKS, account_of, external_request, run_struck, start_mixed
from tests.live.runs import SNAPPLAN, as_json, held, request_text, snapplan
from tests.support.topology import two_disks
from tests.support.writer import start_writer, wait_written, written_mib

pytestmark = pytest.mark.real_qemu

STREAM_MIB = 32  # the limit is half of it, and twice a disk of that guest
MIB_PER_S = 40
SINCE_10 = pytest.mark.qemu_versions(since=(10, 0))


@contextlib.contextmanager
def files_limited(pid, size_bytes):
    """Files of a process grow no further than this."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def limited(size_bytes, *arguments):
    """snapplan, and what it starts, with such a limit."""
    command = ["prlimit", f"--fsize={size_bytes}", SNAPPLAN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("capture", ["stopped", "live", pytest.param("background", marks=SINCE_10)])
def test_no_room_for_the_stream(capture):
    """QEMU's words are told, all is as it was, and once there is room it can be done."""
    with start_writer(STREAM_MIB, MIB_PER_S) as vm:
        text = external_request(vm, capture, internal=("disk0",), overlays=("disk1",))
        before = account_of(vm)
        with files_limited(vm.process.pid, STREAM_MIB * 2**19):
            run = run_struck(vm, text)
            assert (run.outcome.phase, run.outcome.left) == (Phase.UNDONE, ()), run.outcome
            assert account_of(vm) == before
        wait_written(vm, written_mib(vm.console()) + MIB_PER_S)
        done = run_struck(vm, text).outcome
        assert done.phase is Phase.DONE, done
        assert done.stream.size_bytes > STREAM_MIB * 2**20


def test_no_room_for_an_overlay(qemu, tmp_path):
    """What qemu-img came to is told, nothing is left, and nothing is pending."""
    vm = start_mixed(qemu)
    before = account_of(vm)
    request = tmp_path / "request.yaml"
    request.write_text(external_request(vm, "none"))
    store = tmp_path / "store"
    done = limited(100_000, "apply", request, "--vm", vm.qmp_path, "--store", store, "--json")
    assert done.returncode == 20, done.stderr
    assert "qemu-img" in as_json(done)["error"]["message"]
    assert account_of(vm) == before
    assert as_json(snapplan("recover", "--store", store, "--json"))["pending"] == []


@pytest.mark.parametrize(
    ("design", "step"),
    [pytest.param("monolithic", 350, marks=pytest.mark.long), ("transactional", 1400)],
)
def test_no_room_for_the_journal(qemu, tmp_path, design, step):
    """Wherever it ends, the run is done, or undone and the guest as before; never half of either."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    request = tmp_path / "request.yaml"
    request.write_text(request_text("a", DISKS, "disk0"))
    codes = []
    for size_bytes in (0, *range(3500, 20_000, step)):
        store = tmp_path / f"store-{size_bytes}"
        where = ("--vm", vm.qmp_path, "--store", store)
        done = limited(size_bytes, "apply", request, *where, "--design", design)
        codes.append(done.returncode)
        assert as_json(snapplan("recover", "--store", store, "--json"))["pending"] == []
        assert vm.status() == "running"
        if done.returncode == 0:
            break
        assert "journal-unwritable" in done.stderr or "store-unwritable" in done.stderr
        assert held(vm, DISKS) == {key: [] for key in DISKS}, (size_bytes, done.stderr)
    assert (codes[0], codes[-1]) == (2, 0), codes  # the store's own files come first
    assert set(codes[1:-1]) == {10, 20}, codes
    assert held(vm, DISKS) == {key: ["a"] for key in DISKS}
