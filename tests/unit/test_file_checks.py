"""What of a file is evidence of another content, what is a hint, and what proves that it is the same."""

import pytest
from attrs import evolve

from planner.model.file_record import FileRecord
from planner.parts.disk_part import BackingImage
from planner.parts.file_checks import file_notes, file_problems
from planner.parts.internal import InternalSnapshot
from planner.parts.overlay import FrozenImage
from planner.parts.recorded_files import FoundFile, wants_digest
from planner.parts.stream import StateStream
from tests.unit.snapshots import codes, manifest

WAS = FileRecord(device=1, inode=2, size_bytes=3, mtime_ns=4, ctime_ns=5)
DIGESTED = evolve(WAS, sha256="aa")


def snapshot(record, kind=FrozenImage):
    disk = "" if kind is StateStream else "disk0"
    return manifest(parts=(kind(disk=disk, file="/f", record=record),))


def found(now, kind=FrozenImage, was=WAS):
    return codes(file_problems(snapshot(was, kind), {"/f": FoundFile(now)}))


@pytest.mark.parametrize("hint", [{"device": 9}, {"inode": 9}, {"ctime_ns": 9}])
def test_a_hint_is_no_evidence(hint):
    """A restart of the host, a copy with its times, another mode: none says that the content differs."""
    assert found(evolve(WAS, **hint)) == set()


@pytest.mark.parametrize("change", [{"mtime_ns": 9}, {"size_bytes": 9}])
def test_a_write_is_evidence(change):
    """Where there is no digest, another time of the last write and another length are."""
    assert found(evolve(WAS, **change)) == {("base-changed", "disk0")}


def test_the_content_decides_where_it_was_read():
    """A digest proves a copy that did not keep its times, and finds a write that left none."""
    now = evolve(WAS, inode=9, mtime_ns=9, ctime_ns=9)
    assert found(evolve(now, sha256="aa"), was=DIGESTED) == set()
    assert found(evolve(WAS, sha256="bb"), was=DIGESTED) == {("base-changed", "disk0")}
    stream = found(evolve(WAS, sha256="bb"), StateStream, DIGESTED)
    assert stream == {("stream-differs", "/f")}


@pytest.mark.parametrize(
    ("change", "deep", "wanted"),
    [
        ({}, False, False),
        ({}, True, True),
        ({"device": 9}, False, False),
        ({"inode": 9}, False, True),
        ({"ctime_ns": 9}, False, True),
        ({"mtime_ns": 9}, False, True),
        ({"size_bytes": 9}, True, False),
    ],
)
def test_a_content_is_read_only_where_it_has_to_be(change, deep, wanted):
    """Where all is as it was, nothing is read; where the length differs, nothing is left to prove."""
    assert wants_digest(DIGESTED, evolve(WAS, **change), deep=deep) is wanted
    assert not wants_digest(WAS, evolve(WAS, **change), deep=True)


def test_what_is_not_proved_is_said():
    """A copy without a digest, one that cannot be read, and a manifest of before."""
    copy = {"/f": FoundFile(evolve(WAS, inode=9))}
    (note,) = file_notes(snapshot(WAS), copy)
    assert "another file than the one that was saved" in note
    (note,) = file_notes(snapshot(DIGESTED), {"/f": FoundFile(WAS, unread="Permission denied")})
    assert "Permission denied" in note
    (note,) = file_notes(snapshot(FileRecord()), {})
    assert "nothing was recorded" in note
    assert list(file_notes(snapshot(WAS), {"/f": FoundFile(WAS)})) == []


def test_an_image_under_a_part_that_is_gone_is_missing():
    """Others say so of the parts' own files; of those under them nobody else does."""
    part = InternalSnapshot(disk="disk0", file="/i", backing=(BackingImage("/f", "raw", WAS),))
    gone = file_problems(manifest(parts=(part,)), {"/f": FoundFile(None)})
    assert codes(gone) == {("file-missing", "disk0")}
    assert found(None) == set()
