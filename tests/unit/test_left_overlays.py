"""An overlay of a run whose QEMU died: kept while a VM runs on it, and removed once merged.

The VM is a small process with QEMU's words on its command line, QEMU's lock and its open files.
"""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from backends.left_overlays import merged_by_its_qemu, nobody_knows
from backends.merges import Merges
from backends.new_overlays import empty_overlay
from planner.run.actions import ErrorReply, NoAnswer, Returned
from planner.run.observation import baseline_of
from planner.run.ports import HostRefused
from planner.run.run_context import RunContext
from planner.save.undo_external import UndoExternal
from tests.unit.test_undo_external import PROGRAM, VM

VM_PROGRAM = """\
import fcntl, os, struct, sys
mode, locks = sys.argv[2:4]
for path in sys.argv[4:]:
    held = os.open(path, getattr(os, mode))
    lock = struct.pack("@hhqqi4x", fcntl.F_RDLCK, 0, 101, 1, 0)
    if locks == "True":
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, lock)
print("ready", flush=True)
sys.stdin.read()
"""
WORDS = {
    "drive": "file={},if=virtio",
    "hda": "{}",
    "blockdev": json.dumps({"driver": "file", "filename": "{}"}).replace("{}", "%s"),
}


@contextlib.contextmanager
def vm(word, *opened, mode="O_RDWR", locks=True):
    """A process that was started with a word, and has files open as a QEMU would."""
    words = [sys.executable, "-c", VM_PROGRAM, word, mode, locks, *opened]
    with subprocess.Popen(
        [*map(str, words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout.readline() == b"ready\n"
            yield process
        finally:
            process.stdin.close()
            process.wait()


@pytest.fixture
def files(tmp_path):
    base, overlay = tmp_path / "base.raw", tmp_path / "overlay.qcow2"
    base.write_bytes(bytes(65536))
    overlay.write_bytes(empty_overlay(str(base), "raw", 65536))
    return overlay, base


def word_of(kind, overlay):
    text = WORDS[kind]
    return text % overlay if "%s" in text else text.format(overlay)


def always(_pid, _image):
    return True


def merge(overlay, base, instruction="merge-overlay", kept=always):
    def remove(path, _):
        path.unlink()
        return {"removed": True}

    merges = Merges("/bin/false", lambda path, _: os.open(path, os.O_RDONLY), remove, kept)
    return merges.do(instruction, overlay, str(base), {"base-format": "raw"})


@pytest.mark.parametrize("instruction", ["merge-overlay", "remove-if-equal"])
@pytest.mark.parametrize("kind", WORDS)
def test_an_overlay_that_its_vm_has_left_is_removed(files, kind, instruction):
    """The VM was started on it, and runs on the image under it: a pivot, so nothing is lost."""
    overlay, base = files
    os.utime(overlay, (1, 1))  # the image is younger: no time proves anything
    with vm(word_of(kind, overlay), base):
        assert merge(overlay, base, instruction) == {"removed": True}
    assert not overlay.exists()


@pytest.mark.parametrize("instruction", ["merge-overlay", "remove-if-equal"])
def test_an_overlay_whose_disk_may_have_been_attached_anew_is_kept(files, instruction):
    """The VM left it, and nobody can tell how: it alone may hold the guest's last writes."""
    overlay, base = files
    os.utime(overlay, (1, 1))
    asked = []

    def kept(pid, image):
        asked.append((pid, image))
        return False

    with vm(f"file={overlay}", base) as process:
        with pytest.raises(HostRefused, match="differs"):
            merge(overlay, base, instruction, kept)
        with pytest.raises(HostRefused, match="differs"):
            merge(overlay, base, instruction, nobody_knows)
        assert asked == [(process.pid, str(base))]
    assert overlay.exists()


@pytest.mark.parametrize("word", ["file={base}", "file={overlay}.bak", "file=/x{overlay}"])
def test_a_vm_that_was_never_on_the_overlay_proves_nothing(files, word):
    """It was started on the image under it: the overlay alone may hold the guest's last writes."""
    overlay, base = files
    os.utime(overlay, (1, 1))
    with (
        vm(word.format(base=base, overlay=overlay), base),
        pytest.raises(HostRefused, match="differs"),
    ):
        merge(overlay, base)
    assert overlay.exists()


def test_an_overlay_under_another_one_is_no_left_one(files):
    """Whoever lies over it needs it, whatever the VM did."""
    overlay, base = files
    (overlay.parent / "above.qcow2").write_bytes(empty_overlay(str(overlay), "qcow2", 65536))
    with vm(str(overlay), base), base.open("rb") as below:
        assert not merged_by_its_qemu(overlay, base, below.fileno(), always)


def test_an_overlay_that_is_open_is_no_left_one(files):
    """QEMU's lock is one sign; where there are no locks, the open file is."""
    overlay, base = files
    with vm(str(overlay), base), base.open("rb") as below, vm("nbd", overlay):
        assert not merged_by_its_qemu(overlay, base, below.fileno(), always)
        with pytest.raises(HostRefused, match=r"overlay\.qcow2 is open in a QEMU"):
            merge(overlay, base)


def test_an_image_that_nobody_has_open_proves_nothing(files):
    overlay, base = files
    with vm(str(overlay)), base.open("rb") as below:
        assert not merged_by_its_qemu(overlay, base, below.fileno(), always)


def test_a_program_that_only_reads_or_takes_no_lock_is_no_vm(files):
    """A checksum of both files, beside a VM that was never on the overlay; a program that copies."""
    overlay, base = files
    with base.open("rb") as below:
        with vm(f"file={base}", base), vm(overlay, base, mode="O_RDONLY", locks=False):
            assert not merged_by_its_qemu(overlay, base, below.fileno(), always)
        with vm(overlay, base, locks=False):
            assert not merged_by_its_qemu(overlay, base, below.fileno(), always)


@pytest.mark.parametrize(
    ("response", "code", "says", "says_not"),
    [
        (
            ErrorReply("image-in-use", "is open in a QEMU"),
            "overlay-in-use",
            "do not remove it",
            None,
        ),
        (
            ErrorReply("image-in-use", "is open in a QEMU"),
            "overlay-in-use",
            "--active --pivot",
            None,
        ),
        (ErrorReply("qemu-img-failed", "lock"), "file-left", "only if it was merged", "look, and"),
        (NoAnswer("late", lost=False), "file-left", "only if it was merged", "look, and"),
    ],
)
def test_no_remedy_loses_what_the_guest_wrote(response, code, says, says_not):
    """Of an overlay that the guest may have written to, when its QEMU is gone."""
    [made] = [step for step in PROGRAM.steps if step.execute == "create-overlay"]
    context = RunContext(baseline_of(VM), files=[made], written={"vars0"})
    left = []
    removing = UndoExternal(PROGRAM, context, [], left).remove_files(gone=True)
    next(removing)
    with pytest.raises(StopIteration):
        removing.send(response)
    [problem] = left
    assert problem.code == code
    assert says in problem.remedy
    assert says_not is None or says_not not in problem.remedy
    assert context.files == [made]  # the next recover tries it again
    again = UndoExternal(PROGRAM, context, [], left).remove_files(gone=True)
    assert next(again).instruction == "merge-overlay"
    with pytest.raises(StopIteration):
        again.send(Returned({"removed": True}))
    assert context.files == []
