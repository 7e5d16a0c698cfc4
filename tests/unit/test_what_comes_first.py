"""What can fail comes before what nothing brings back (`specs/order-of-steps.md`)."""

import asyncio
import os

import pytest

from backends.host import QemuHost
from backends.locks import openings_that_forbid_writing
from planner.inspect.before_writing import unwritable
from tests.unit.build import facts, held, plan, qcow2, raw, request, streamed

DELETE = "blockdev-snapshot-delete-internal-sync"


@pytest.mark.parametrize(
    ("design", "wish"),
    [
        ("transactional", request("t", "none", {"disk0": "internal", "vars0": {"external": "/new/v"}},
                                  existing_tag="replace")),
        ("external", streamed("stopped", "disk0", overlays=("vars0",), existing_tag="replace")),
        ("live", streamed("live", "disk0", overlays=("vars0",), existing_tag="replace")),
        ("background", streamed("background", "disk0", overlays=("vars0",), existing_tag="replace")),
    ],
    ids=["transactional", "external", "live", "background"],
)  # fmt: skip
def test_an_old_snapshot_is_deleted_when_all_that_is_new_is_prepared(design, wish):
    """Files, settings, overlays and their nodes: should one fail, the old snapshot is still there."""
    vm = facts(qcow2("disk0", snapshots=(held("t", "3"),)), raw("vars0"), version="11.1")
    steps = [step.execute for step in plan(design, vm, wish).program.steps]
    deleted = steps.index(DELETE)
    prepares = {"create-overlay", "blockdev-add", "create-stream"} & set(steps)
    assert "blockdev-add" in prepares
    assert all(steps.index(name) < deleted for name in prepares)
    captures = [name for name in ("stop", "migrate", "transaction") if name in steps]
    assert all(deleted < steps.index(name) for name in captures if name != "migrate")


def test_an_image_that_cannot_be_written_to_is_seen_before_one_is(tmp_path):
    """A folder, or nothing at all, where an image should be."""
    image = tmp_path / "image"
    image.write_bytes(b"")
    files = {"disk0": str(image), "disk1": str(tmp_path / "gone"), "disk2": str(tmp_path)}
    problems = asyncio.run(unwritable(files, QemuHost()))
    assert [problem.subject for problem in problems] == ["disk1", "disk2"]
    assert asyncio.run(unwritable(files, None)) == ()


def test_locks_of_others_are_counted(tmp_path):
    """Those on the byte that forbids writing, of just this file."""
    image = tmp_path / "image"
    image.write_bytes(b"")
    found = image.stat()
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    locks = tmp_path / "locks"
    locks.write_text(
        f"1: OFDLCK ADVISORY READ -1 {place} 201 201\n"
        f"2: OFDLCK ADVISORY READ -1 {place} 100 103\n"
        f"3: OFDLCK ADVISORY READ -1 {place}9 201 201\n"
        f"4: POSIX  ADVISORY WRITE 77 {place} 0 EOF\n"
        f"5: -> OFDLCK ADVISORY READ\n"
        f"6: OFDLCK ADVISORY READ -1 {place} 200 EOF\n"
    )
    assert openings_that_forbid_writing(found, locks) == 2
    assert openings_that_forbid_writing(found, tmp_path / "no-locks") == 0
