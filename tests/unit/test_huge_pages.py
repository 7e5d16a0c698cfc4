"""Joining a process's memory into huge pages: which memory, what is asked for, what is said."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from planner.host import huge_pages
from planner.host.huge_pages import Joined, join_huge_pages

MIB = 1 << 20
PROCESS = """
import ctypes, mmap, sys
memory = mmap.mmap(-1, 34 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(15)                      # MADV_NOHUGEPAGE, so that the pages are small
for at in range(0, len(memory), 4096):
    memory[at] = at >> 12 & 255
memory.madvise(14)                      # MADV_HUGEPAGE, as QEMU does it
print("ready", flush=True)
sys.stdin.read(1)
assert all(memory[at] == at >> 12 & 255 for at in range(0, len(memory), 4096))
"""


@pytest.fixture
def process(tmp_path):
    """One with 32 MiB in small pages, whose name is taken for QEMU's."""
    name = tmp_path / "qemu-like"
    name.symlink_to(sys.executable)
    started = subprocess.Popen(
        [name, "-c", PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout.readline() == "ready\n"
    yield started
    started.kill()
    started.communicate()


def test_small_pages_are_joined_and_hold_what_they_held(process):
    """Or this Linux says why not; the process is not harmed either way."""
    found = join_huge_pages(process.pid)
    assert found.note or found.after_bytes >= found.before_bytes + 30 * MIB
    process.communicate("x")
    assert process.returncode == 0


def test_only_what_is_anonymous_and_marked_for_them_is_asked_for(process):
    wanted = [mapping for mapping in huge_pages._mappings(process.pid) if mapping.wanted]
    assert [mapping.end - mapping.begin for mapping in wanted] == [34 * MIB]
    assert len(list(huge_pages._mappings(process.pid))) > 1


def test_a_mapping_is_asked_for_in_whole_huge_pages():
    """From the first that begins in it to the last that ends in it."""
    mapping = huge_pages._Mapping(3 * MIB, 131 * MIB, 0, wanted=True)
    assert list(huge_pages._pieces(mapping)) == [(4 * MIB, 64 * MIB), (68 * MIB, 62 * MIB)]
    assert list(huge_pages._pieces(huge_pages._Mapping(MIB, 2 * MIB, 0, wanted=True))) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, "needs CAP_SYS_NICE"),
        (errno.ENOSYS, "this Linux cannot"),
        (errno.EINVAL, "this Linux cannot"),
        (errno.ESRCH, "no process that can be seen"),
    ],
)
def test_what_cannot_be_done_is_a_note(process, monkeypatch, number, words):
    """Whether it is raised at once or concerns each piece."""

    def refuse(*_):
        error = OSError(number, os.strerror(number))
        if number == errno.EINVAL:
            return error
        raise error

    monkeypatch.setattr(huge_pages, "_collapse", refuse)
    assert words in join_huge_pages(process.pid).note


def test_a_piece_that_cannot_be_joined_does_not_keep_the_others(process, monkeypatch):
    """The guest has never touched it, or it is busy."""
    before = list(huge_pages._mappings(process.pid))
    grown = [huge_pages._Mapping(m.begin, m.end, m.huge_bytes + MIB, m.wanted) for m in before]
    answers = iter([before, grown])
    monkeypatch.setattr(huge_pages, "_mappings", lambda _pid: next(answers))
    monkeypatch.setattr(huge_pages, "_collapse", lambda *_: OSError(errno.EAGAIN, "busy"))
    found = join_huge_pages(process.pid)
    assert (found.note, found.after_bytes - found.before_bytes) == ("", MIB)


def test_nobody_but_a_qemu_is_touched():
    """A relay that listens in its place, or nobody known."""
    for pid in (None, os.getpid(), 1 << 30):
        found = join_huge_pages(pid)
        assert found == Joined(note=found.note)
        assert "no process that can be seen" in found.note
    assert Path("/proc/self/comm").read_text()
