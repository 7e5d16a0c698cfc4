"""The digest of a stream: the whole content counts, whenever it is read."""

import hashlib
import os
import threading

import pytest

from backends import digest as module
from backends.digest import Digester


@pytest.fixture
def stream(tmp_path):
    with (tmp_path / "stream").open("w+b", buffering=0) as file:
        yield file


@pytest.mark.parametrize("begin_at", [0, 2**40])
def test_a_digest_is_of_all_that_was_written(stream, begin_at):
    """Read behind its writer or in the end, in many pieces."""
    digester = Digester(stream.fileno(), begin_at)
    whole = b""
    for number in range(20):
        piece = bytes([number]) * 300_000
        stream.write(piece)
        whole += piece
    assert digester.finish() == hashlib.sha256(whole).hexdigest()


def test_a_large_stream_is_read_while_it_is_written(stream, monkeypatch):
    """From the given size on; what was read then is not read again."""
    read, reads = threading.Event(), []
    pread = os.pread

    def noting(descriptor, size, at):
        block = pread(descriptor, size, at)
        if block:
            reads.append(at)
            read.set()
        return block

    monkeypatch.setattr(module.os, "pread", noting)
    stream.write(b"a" * 1000)
    digester = Digester(stream.fileno(), 1000)
    assert read.wait(60)
    stream.write(b"b" * 1000)
    assert digester.finish() == hashlib.sha256(b"a" * 1000 + b"b" * 1000).hexdigest()
    assert reads[0] == 0
    assert len(reads) == len(set(reads))


def test_a_digester_that_is_stopped_reads_the_rest_in_the_end(stream):
    """In the guest's pause nothing is read; afterwards all of it."""
    digester = Digester(stream.fileno(), 1)
    digester.stop()
    stream.write(b"x" * 5_000_000)
    assert digester.finish() == hashlib.sha256(b"x" * 5_000_000).hexdigest()
