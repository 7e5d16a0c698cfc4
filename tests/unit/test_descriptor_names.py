"""What a descriptor set of QEMU's means: as its process proves it, here this one's."""

import contextlib
import os

import pytest

from backends.descriptor_names import files_of_sets, names_a_set


@pytest.fixture
def opened(tmp_path):
    """Opens a new file as often as wanted: its path and descriptors."""
    with contextlib.ExitStack() as stack:

        def make(name, times=2):
            path = tmp_path / name
            path.touch()
            made = [os.open(path, os.O_RDONLY) for _ in range(times)]
            for descriptor in made:
                stack.callback(os.close, descriptor)
            return path, made

        yield make


def sets(**numbers):
    return [
        {"fdset-id": int(name[1:]), "fds": [{"fd": each} for each in fds]}
        for name, fds in numbers.items()
    ]


def meant(reply, name="/dev/fdset/1", pid=None):
    return files_of_sets(reply, os.getpid() if pid is None else pid)(name)


def test_a_set_is_its_file(opened):
    """Where the process has it open once more than the sets have; another name means itself."""
    path, (first, second, _node) = opened("a", 3)
    reply = sets(s1=[first, second])
    assert meant(reply) == str(path)
    assert meant(reply, "/dev/fdset/2") == "/dev/fdset/2"
    assert meant(reply, "/vm/disk") == "/vm/disk"


def test_what_is_not_proved_stays_as_it_is(opened):
    """Nobody but the set has it open; two files in one set; no name; no process; another shape."""
    path, (first, second) = opened("a")
    _, (other, _node) = opened("b")
    assert meant(sets(s1=[first, second])) == "/dev/fdset/1"
    assert meant(sets(s1=[first, other])) == "/dev/fdset/1"
    assert meant(sets(s1=[first]), pid=0) == "/dev/fdset/1"
    assert meant([{"fdset-id": 1}]) == "/dev/fdset/1"
    assert meant(sets(s1=[first])) == str(path)
    path.unlink()
    path.touch()
    assert meant(sets(s1=[first])) == "/dev/fdset/1"


def test_an_answer_names_a_set_anywhere():
    """Sets are asked for only then."""
    assert names_a_set([{"inserted": {"image": {"filename": "/dev/fdset/3"}}}])
    assert not names_a_set([{"file": "/vm/a.qcow2", "opaque": 7}])
