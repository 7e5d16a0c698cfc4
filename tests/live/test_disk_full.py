"""No room on the disk: for the stream, the overlay, the machine state in an image, the journal.

A limit on how large a process may make a file (`RLIMIT_FSIZE`) stands for a full disk: the write that
would go beyond it fails, and nobody else's disk is filled.
"""

import contextlib
import json
import os
import pathlib
import resource
import subprocess
import tempfile

import pytest

from planner.parts.make_stream import ShownStream
from planner.run.phases import Phase
from tests.live.external import DISKS, account_of, external_request, run_struck, start_mixed
from tests.live.runs import SNAPPLAN, as_json, held, request_text, snapplan
from tests.support.qemu import qemu_binary, qemu_img_binary
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
        [stream] = [part for part in done.parts if isinstance(part, ShownStream)]
        assert stream.kept.size_bytes > STREAM_MIB * 2**20


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
    [pytest.param("monolithic", 350, marks=pytest.mark.long), ("transactional", 6000)],
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


FULL = """
set -e
mkdir "$D/full"
mount -t tmpfs -o size=4m tmpfs "$D/full"
"$IMG" create -q -f qcow2 "$D/full/d.qcow2" 64M
"$QEMU" -nodefaults -display none -machine accel=tcg -m 64 -qmp "unix:$D/qmp,server=on,wait=off" \
    -drive "if=virtio,id=drive0,file=$D/full/d.qcow2,format=qcow2" >"$D/log" 2>&1 & pid=$!
trap 'kill $pid; wait $pid' EXIT
while [ ! -S "$D/qmp" ]; do kill -0 $pid; sleep 0.1; done
dd if=/dev/zero of="$D/full/fill" bs=1k count=3550 2>/dev/null
"$SNAPPLAN" apply - --vm "$D/qmp" --store "$D/store" --json
"""


def applied_where_full(folder, script, text):
    """What `apply` comes to in a mount namespace of its own."""
    programs = {"IMG": qemu_img_binary(), "QEMU": qemu_binary(), "SNAPPLAN": str(SNAPPLAN)}
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **programs, "D": folder},
    )
    assert done.returncode == 20, done.stderr
    return as_json(done)["error"]["message"]


def test_a_file_system_that_is_full_is_named():
    """QEMU 7.2 says "Input/output error"; a small file system of a mount namespace is really full."""
    text = request_text("a", ["drive0"], "drive0")
    with tempfile.TemporaryDirectory() as folder:  # a socket's path has to be short
        message = applied_where_full(folder, FULL, text)
        assert f"the file system of {folder}/full is full" in message, message
        assert "larger than before" in message
        assert "snapplan gc" in message


FILLING = """
set -e
mkdir "$D/full"
mount -t tmpfs -o size=4m tmpfs "$D/full"
head -c 3900k /dev/urandom >"$D/noise"
"$IMG" create -q -f qcow2 "$D/d.qcow2" 8M
"$QEMU" -nodefaults -display none -machine accel=tcg -m 64 -qmp "unix:$D/qmp,server=on,wait=off" \
    -device "loader,file=$D/noise,addr=0x1000000,force-raw=on" \
    -drive "if=virtio,id=drive0,file=$D/d.qcow2,format=qcow2" >"$D/log" 2>&1 & pid=$!
trap 'kill $pid; wait $pid' EXIT
while [ ! -S "$D/qmp" ]; do kill -0 $pid; sleep 0.1; done
code=0
"$SNAPPLAN" apply - --vm "$D/qmp" --store "$D/store" --json || code=$?
ls -A "$D/full" >"$D/left"
"$IMG" snapshot -U -l "$D/d.qcow2" >>"$D/left"
exit $code
"""
"""The guest's memory holds more noise than the file system has room; what is left is written down."""


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"machine-state": {"image": "@/full/s"}}, "Error while writing VM state"),
        pytest.param({"disks": {"drive0": {"copy": "@/full/c"}}}, "needs 8.0 MiB",
                     marks=pytest.mark.long),
        pytest.param({"disks": {"drive0": {"copy": "@/full/c", "format": "raw"}}}, "needs 8.0 MiB",
                     marks=pytest.mark.long),
    ],
    ids=["image", "copy", "raw-copy"],
)  # fmt: skip
def test_a_new_file_that_its_file_system_cannot_hold_leaves_nothing(wish, words):
    """Machine state fills it in the pause; a copy is refused before the guest stands."""
    wanted = {"tag": "a", "machine-state": "none", "disks": {"drive0": "internal"}} | wish
    with tempfile.TemporaryDirectory() as folder:
        message = applied_where_full(folder, FILLING, json.dumps(wanted).replace("@", folder))
        assert words in message, message
        if "image" in str(wish):
            assert "is full" in message
        assert pathlib.Path(folder, "left").read_text() == "", "of the run nothing is left"
        again = snapplan("recover", "--store", f"{folder}/store", "--json")
        assert as_json(again)["pending"] == []


def test_why_an_overlay_could_not_be_made_is_told():
    """A file that qemu-img was passed cannot be deleted by its name: that is not the reason."""
    script = FULL.replace("count=3550", "count=4096 || true")
    text = json.dumps(
        {
            "tag": "a",
            "machine-state": "none",
            "disks": {"drive0": {"external": "@/full/overlay.qcow2"}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        message = applied_where_full(folder, script, text.replace("@", folder))
        assert "No space left on device" in message, message
        assert "is full" in message


# --- a load ----------------------------------------


def saved(vm, store, text):
    done = snapplan("apply", "-", "--vm", vm.qmp_path, "--store", store, text=text)
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("step", [pytest.param(350, marks=pytest.mark.long), 4000])
def test_no_room_for_the_journal_of_a_load(qemu, tmp_path, step):
    """Wherever it ends: loaded, or nothing is reverted and the guest goes on; nothing is pending."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest(1)
    store = tmp_path / "store"
    saved(vm, store, request_text("a", DISKS, "disk0"))
    codes = []
    for size_bytes in (0, *range(500, 20_000, step)):
        done = limited(size_bytes, "load", "a", "--vm", vm.qmp_path, "--store", store, "--json")
        assert "Traceback" not in done.stderr, done.stderr
        codes.append(done.returncode)
        assert as_json(snapplan("recover", "--store", store, "--json"))["pending"] == []
        if (
            done.returncode == 21
        ):  # it is loaded; `cont` could not be written down, so it is not sent
            assert "the snapshot is loaded" in done.stderr, done.stderr
            assert vm.status() in ("paused", "restore-vm", "running")
            for job in vm.execute(
                "query-jobs"
            ):  # nor is it dismissed, and the journal tells of all
                vm.execute("job-dismiss", id=job["id"])
            vm.execute("cont")
        assert vm.status() == "running", done.stderr
        vm.wait_guest(1, since=len(vm.console()))  # and complains of nothing
        if done.returncode == 0:
            break
        told = as_json(done)["error"]
        assert told["code"] in ("journal-unwritable", "store-unwritable", "current-unwritten"), told
    assert codes[-1] == 0, codes
    assert set(codes[:-1]) <= {2, 10, 20, 21}, codes


@pytest.mark.parametrize("more", [(), ("--copy-to",)])
def test_no_room_for_what_a_restore_makes(qemu, tmp_path, more):
    """Overlays on frozen images, and copies of images: no new file is left, and it can be done later."""
    vm = start_mixed(qemu)
    store = tmp_path / "store"
    saved(vm, store, external_request(vm, "none"))
    vm.end()
    folder = tmp_path / "copies"
    folder.mkdir()
    where = ("load", "a", "--offline", "--store", store, "--yes", "--json")
    where += (*more, folder) if more else ()
    before = {path: path.stat().st_ino for path in vm.directory.iterdir()}
    done = limited(100_000, *where)
    assert done.returncode in (10, 20), done.stderr
    assert "Traceback" not in done.stderr
    assert {path: path.stat().st_ino for path in vm.directory.iterdir()} == before
    assert list(folder.iterdir()) == []
    again = snapplan(*where)
    assert again.returncode == 0, again.stderr
