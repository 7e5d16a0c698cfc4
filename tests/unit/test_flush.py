"""Flushing files on the host: best effort, and ended when it is told to end."""

import os
import threading

from backends.flush import Flusher, flush


def test_what_cannot_be_flushed_is_left_out(tmp_path, monkeypatch):
    """A file that is not there, a relative path and a folder stop nothing."""
    flushed = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: flushed.append(os.fstat(descriptor)))
    file = tmp_path / "image"
    file.write_bytes(b"x")
    flush([str(tmp_path / "missing"), "relative", str(file)])
    assert [status.st_ino for status in flushed] == [file.stat().st_ino]


def test_a_flusher_works_until_it_is_ended(tmp_path, monkeypatch):
    """It flushes more than once, and its thread is gone after `end`."""
    twice = threading.Semaphore(0)
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: twice.release())
    file = tmp_path / "image"
    file.write_bytes(b"x")
    before = threading.active_count()
    flusher = Flusher([str(file)])
    assert twice.acquire(timeout=60)
    assert twice.acquire(timeout=60)
    flusher.end()
    assert threading.active_count() == before
