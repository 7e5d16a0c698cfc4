"""What a snapshot leaves out: recorded before it, compared before a load, and kept by files."""

import json

import pytest
from attrs import evolve

from planner.host.left_out import look_at_left_out, with_left_out
from planner.load.load_checks import load_problems
from planner.model.facts import Drive
from planner.model.facts_text import facts_to_plain, read_facts
from planner.model.file_record import FileRecord
from planner.parts.accepting import Accepted
from planner.parts.left_out_checks import left_out_files, left_out_of, left_out_problems
from planner.parts.manifest import LeftOut
from planner.parts.manifest_text import manifest_to_plain, read_manifest
from tests.unit.build import qcow2
from tests.unit.snapshots import images, manifest, snapshot_on, vm
from tests.unit.test_schemas import MANIFEST

WAS = FileRecord(1, 2, 100, 5, 5)
DATA = LeftOut("data", qdev="data-device", file="/vm/data.raw", writable=True, record=WAS)
CD = LeftOut("cd0", drive_id="cd0", qdev="cd-device", file="/iso/one", removable=True, record=WAS)
EMPTY = LeftOut("cd0", drive_id="cd0", qdev="cd-device", removable=True)


def told(one, now=WAS, facts=None, **more):
    """What is said of one thing that was left out."""
    files = {} if now is None else {one.file: now}
    found = left_out_problems(manifest(left_out=(one,), **more), files, facts)
    return [(problem.code, problem.subject) for problem in found]


SAYS = [("left-out-changed", "data")]


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (WAS, []),
        (evolve(WAS, ctime_ns=9, inode=7), []),
        (evolve(WAS, mtime_ns=6), SAYS),
        (evolve(WAS, size_bytes=101), SAYS),
        (None, SAYS),
    ],
    ids=["the same", "a copy of it", "written to", "grown", "not to be seen"],
)
def test_a_disk_that_was_written_to_is_told(now, says):
    """And one that nobody can look at."""
    assert told(DATA, now) == says


def test_what_could_never_be_looked_at_is_told_where_it_can_be_written():
    """A host's device or a network disk: whether it was written to nobody can say."""
    unseen = evolve(DATA, record=FileRecord())
    assert told(unseen) == SAYS
    assert told(evolve(unseen, writable=False)) == []


@pytest.mark.parametrize(
    ("one", "file", "says"),
    [
        (CD, "/iso/one", False),
        (CD, "/iso/two", True),
        (CD, "", True),
        (CD, None, True),
        (EMPTY, "", False),
        (EMPTY, "/iso/one", True),
    ],
)
def test_a_medium_is_compared_with_the_one_that_was_in(one, file, says):
    """By its drive; a drive that is gone is told as well."""
    drives = () if file is None else (Drive("cd0", "elsewhere", file),)
    assert told(one, facts=evolve(vm(), drives=drives)) == ([("left-out-changed", "cd0")] * says)


def test_without_machine_state_nothing_remembers_a_medium():
    """A disk does: it is of another instant than those that are reverted."""
    parts = tuple(evolve(part, vm_state_size_bytes=0) for part in manifest().parts)
    assert told(CD, facts=vm(), parts=parts) == []
    assert told(DATA, None, parts=parts) == SAYS


def test_what_changed_is_loaded_over_only_when_it_is_accepted_by_name():
    """Each by its own name."""
    now = vm()
    before = manifest(left_out=(DATA,))
    held = images(now)
    assert {p.subject for p in load_problems(before, now, held)} == {"data"}
    assert load_problems(before, now, held, accepted=Accepted(changed=frozenset({"disk0"})))
    assert not load_problems(before, now, held, accepted=Accepted(changed=frozenset({"data"})))


def test_what_is_left_out_is_recorded_with_its_file(tmp_path):
    """Disks of these names, as their files are, and drives without a medium; files keep it."""
    file = tmp_path / "data.raw"
    file.write_bytes(b"x" * 10)
    data = qcow2("data", driver="raw", filename=str(file), qdev="data-device")
    now = vm(snapshot_on("disk0"), data, drives=(Drive("cd0", "cd-device"),))
    looked = with_left_out(now, ("data",))
    assert read_facts(json.dumps(facts_to_plain(looked))).files == looked.files
    assert read_facts(json.dumps(facts_to_plain(looked))).drives == now.drives
    recorded, drive = left_out_of(("data",), looked)
    assert (recorded.file, recorded.record.size_bytes, recorded.writable) == (str(file), 10, True)
    assert (drive.disk, drive.file, drive.removable) == ("cd0", "", True)
    of = manifest(left_out=(recorded, drive))
    text = json.dumps(manifest_to_plain(of))
    MANIFEST.validate(json.loads(text))
    assert read_manifest(text).left_out == (recorded, drive)
    assert list(left_out_files(of)) == [str(file)]
    assert not list(left_out_problems(of, look_at_left_out(of), now))
    file.write_bytes(b"y" * 11)
    assert [p.subject for p in left_out_problems(of, look_at_left_out(of), now)] == ["data"]
    assert [p.subject for p in left_out_problems(of, look_at_left_out(of, local=False), now)]
