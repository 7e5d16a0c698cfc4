"""Which process is which, and whether it lives: asked of this machine's own /proc."""

import os
import subprocess
import sys
import threading

from attrs import evolve

from planner.host.file_locks import is_locked
from planner.host.processes import lives, open_files, process_of, qemu_process


def test_a_process_lives_until_it_has_ended():
    """Also one that nobody has waited for yet is dead: it has no images open any more."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = process_of(child.pid)
    assert lives(known) is True
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert lives(known) is False
    child.wait()
    assert lives(known) is False
    assert process_of(child.pid) is None


def test_another_process_with_the_same_id_is_not_taken_for_it():
    """The moment at which it started tells them apart."""
    known = process_of(os.getpid())
    assert lives(known) is True
    assert lives(evolve(known, started_ticks=known.started_ticks + 1)) is False


def test_what_cannot_be_told_is_not_guessed():
    """Another namespace means other processes by the same ids; another machine's boot says nothing."""
    known = process_of(os.getpid())
    assert lives(evolve(known, pid_namespace=1)) is None
    assert lives(evolve(known, boot="")) is None
    assert lives(evolve(known, boot="another", machine="")) is None
    assert lives(evolve(known, boot="another", machine="another")) is None


def test_an_earlier_boot_of_this_machine_ended_all_its_processes():
    known = process_of(os.getpid())
    earlier = evolve(known, boot="another")
    assert lives(earlier) is (False if known.machine else None)


def test_a_relay_is_not_taken_for_the_qemu_behind_it(tmp_path):
    """Who listens has not the threads that QEMU says; a process with them must use the VM's images."""
    image = tmp_path / "disk"
    image.touch()
    child = subprocess.Popen([sys.executable, "-c", "input()", image], stdin=subprocess.PIPE)
    try:
        here, threads = os.getpid(), (child.pid,)
        assert qemu_process(here, threads, [str(image)]) == process_of(child.pid)
        assert qemu_process(None, threads, [str(image)]) == process_of(child.pid)
        assert qemu_process(None, threads, ["/no/such/image"]) is None
        assert qemu_process(None, (), [str(image)]) is None
        assert qemu_process(child.pid, threads, []) == process_of(child.pid)
    finally:
        child.communicate()


def test_who_listens_is_believed_where_it_says_nothing_of_its_threads():
    """A simulator answers for itself."""
    own = threading.get_native_id()
    assert qemu_process(os.getpid(), (), []) == process_of(os.getpid())
    assert qemu_process(os.getpid(), (own,), []) == process_of(os.getpid())


def test_open_files_name_who_has_them(tmp_path):
    image, other = tmp_path / "disk", tmp_path / "other"
    image.touch()
    other.touch()
    opens = f"file = open({str(image)!r}); print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", opens], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        child.stdout.readline()
        found = open_files([str(image), str(other), "/no/such/file"])
        assert found.users == {child.pid: str(image)}
    finally:
        child.communicate()


def test_a_lock_is_seen_and_none_is_taken(tmp_path):
    """By another open file: as QEMU holds its locks."""
    import fcntl
    import struct

    image = tmp_path / "disk"
    image.touch()
    assert is_locked(str(image)) is False
    assert is_locked(str(tmp_path / "none")) is None
    lock = struct.pack("@hhqqi4x", fcntl.F_RDLCK, 0, 100, 1, 0)
    with image.open("rb") as holding:
        fcntl.fcntl(holding, fcntl.F_OFD_SETLK, lock)
        assert is_locked(str(image)) is True
    assert is_locked(str(image)) is False
