"""What the host says of a new file that cannot be made: the whole path, a code, and nothing is left."""

import asyncio
import os

import pytest

from backends.host import QemuHost
from planner.host.room import room_notes
from planner.run.outcome import Failure
from planner.run.ports import HostRefused

TIB = 2**40
COPY = {"base": "nbd://nobody", "size": TIB**2}


def refused(instruction, path, **more):
    path = str(path)
    folder, _, name = path.rpartition("/")
    arguments = {"path": path, "temporary": f"{folder}/.{name}.snapplan", **more}
    with pytest.raises(HostRefused) as caught:
        asyncio.run(QemuHost().do(instruction, arguments, 60))
    return caught.value.code, caught.value.description


@pytest.mark.parametrize("instruction", ["create-vmstate-image", "create-copy", "create-stream"])
def test_the_whole_path_is_named(instruction, tmp_path):
    """A folder that is not there, a file in the place of one, something in its own place."""
    there = tmp_path / "there"
    there.touch()
    more = {**COPY, "size": 2**20}
    for path in (tmp_path / "no" / "x", there / "x"):
        said = f"{path}: there is no folder {path.parent}"
        assert refused(instruction, path, **more) == ("file-unwritable", said)
    said = f"{there} exists, and is not overwritten"
    assert refused(instruction, there, **more) == ("file-exists", said)
    (tmp_path / ".x.snapplan").touch()
    said = f"{tmp_path}/x: File exists"
    assert refused(instruction, tmp_path / "x", **more) == ("file-exists", said)
    assert sorted(each.name for each in tmp_path.iterdir()) == [".x.snapplan", "there"]


def test_a_copy_for_which_there_is_no_room_is_not_begun(tmp_path):
    """No disk has as many bytes: it is refused, and its temporary file is gone."""
    code, said = refused("create-copy", tmp_path / "x", **COPY)
    assert (code, said.startswith(f"{tmp_path}/x: a copy of the disk needs ")) == ("no-room", True)
    assert list(tmp_path.iterdir()) == []


def test_machine_state_for_which_there_is_no_room_is_not_begun(tmp_path, monkeypatch):
    """Hardly a byte is free."""
    found = list(os.statvfs(tmp_path))
    found[3] = 1  # f_bfree
    monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result(found))
    assert refused("create-vmstate-image", tmp_path / "x")[0] == "no-room"
    assert list(tmp_path.iterdir()) == []


def test_one_file_by_two_spellings(tmp_path):
    """`//` in its path is nothing: the descriptor is found by it."""
    host, path = QemuHost(), f"{tmp_path}//x"
    names = {"path": path, "temporary": f"{tmp_path}//.x.snapplan"}
    asyncio.run(host.do("create-vmstate-image", names, 60))
    assert host.descriptor(names["temporary"]) == host.descriptor(f"{tmp_path}/.x.snapplan")
    asyncio.run(host.do("remove-stream", names, 60))
    assert list(tmp_path.iterdir()) == []


def test_what_has_no_room_at_all_is_not_full():
    """`/proc` has no blocks."""
    assert list(room_notes(["/proc/x"], {})) == []


def test_a_remedy_is_told_with_each_code():
    """Of what a user can put right."""
    codes = ("file-exists", "file-unwritable", "no-room")
    assert all(Failure(code, "step 1", "no").cause.remedy for code in codes)
