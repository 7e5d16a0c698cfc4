"""Flushing files on the host: best effort, begun when it helps, and ended when it is told to end."""

import os
import threading

import pytest

from backends import flush as module
from backends.flush import Flusher, Reopener, flush, kernel_begins_at_bytes


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "image"
    path.write_bytes(b"x")
    return path


def test_what_cannot_be_flushed_is_left_out(tmp_path, file, monkeypatch):
    """A file that is not there, a relative path and a folder stop nothing."""
    flushed = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: flushed.append(os.fstat(descriptor)))
    flush([str(tmp_path / "missing"), "relative", str(file)])
    assert [status.st_ino for status in flushed] == [file.stat().st_ino]


def test_a_flusher_works_until_it_is_ended(file, monkeypatch):
    """It flushes more than once, and its thread is gone after `end`."""
    twice = threading.Semaphore(0)
    monkeypatch.setattr(os, "fdatasync", lambda _descriptor: twice.release())
    before = threading.active_count()
    flusher = Flusher(str(file), [], 0)
    assert twice.acquire(timeout=60)
    assert twice.acquire(timeout=60)
    flusher.end()
    assert threading.active_count() == before


def test_a_stream_is_flushed_once_the_kernel_would_not_keep_it(tmp_path, monkeypatch):
    """Below that size nothing is flushed, the images neither; from it on both are."""
    stream, image = tmp_path / "stream", tmp_path / "image"
    image.write_bytes(b"x")
    flushed, noted, looked = [], threading.Semaphore(0), threading.Semaphore(0)

    class Looked(type(stream)):
        def stat(self, **more):
            looked.release()
            return super().stat(**more)

    def note(paths):
        flushed.append((tuple(paths), stream.stat().st_size))
        noted.release()

    monkeypatch.setattr(module, "flush", note)
    monkeypatch.setattr(module, "Path", Looked)
    stream.write_bytes(b"s" * 4096)
    flusher = Flusher(str(stream), [str(image)], 2**20)
    assert looked.acquire(timeout=60)
    assert looked.acquire(timeout=60)
    assert flushed == [], "it has looked once, and found the stream small"
    with stream.open("ab") as more:
        more.write(b"s" * 2**20)
    assert noted.acquire(timeout=60)
    flusher.end()
    assert {paths for paths, _ in flushed} == {(str(stream), str(image))}
    assert min(size for _, size in flushed) >= 2**20


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"bytes": "4096\n", "ratio": "0\n"}, 4096),
        ({"bytes": "0\n", "ratio": "10\n", "memory": "MemFree: 1 kB\nMemAvailable: 2000 kB\n"}, 204800),
        ({"bytes": "0\n", "ratio": "10\n", "memory": "MemFree: 1 kB\n"}, 0),
        ({"bytes": "much\n"}, 0),
        ({}, 0),
    ],
)  # fmt: skip
def test_when_the_kernel_begins_is_read_from_proc(tmp_path, given, expected):
    """Bytes win over the ratio; what cannot be read is no error, and then flushing begins at once."""
    (tmp_path / "sys/vm").mkdir(parents=True)
    names = {"bytes": "sys/vm/dirty_background_bytes", "ratio": "sys/vm/dirty_background_ratio"}
    for key, text in given.items():
        (tmp_path / names.get(key, "meminfo")).write_text(text)
    assert kernel_begins_at_bytes(tmp_path) == expected


def test_this_kernel_says_when_it_begins():
    assert kernel_begins_at_bytes() > 0


def test_a_file_is_opened_again_once_when_it_was_written_to(file, monkeypatch):
    """Not while it is empty; then once, and the thread ends by itself."""
    file.write_bytes(b"")
    opened, looked = [], threading.Semaphore(0)
    real_open, real_fstat = os.open, os.fstat

    def note(path, *more):
        opened.append(file.stat().st_size)
        return real_open(path, *more)

    def look(descriptor):
        looked.release()
        return real_fstat(descriptor)

    with file.open("r+b") as stream:
        monkeypatch.setattr(module.os, "open", note)
        monkeypatch.setattr(module.os, "fstat", look)
        reopener = Reopener(stream.fileno(), str(file))
        assert looked.acquire(timeout=60)
        assert looked.acquire(timeout=60)
        assert opened == [], "it has looked once, and found nothing written"
        os.write(stream.fileno(), b"QEVM")
        reopener._thread.join(60)
        reopener.end()
    assert opened == [4]


@pytest.mark.parametrize("written", [True, False])
def test_a_file_that_is_gone_or_never_written_ends_without_an_error(file, written):
    if not written:
        file.write_bytes(b"")
    with file.open("rb") as stream:
        file.unlink()
        reopener = Reopener(stream.fileno(), str(file))
        if written:
            reopener._thread.join(60)
        reopener.end()
        assert not reopener._thread.is_alive()
