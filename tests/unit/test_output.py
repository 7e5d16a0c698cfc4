"""A file that a person names for output: what is there stays what it is."""

import os
import stat
import threading

import pytest

from planner.errors import BadInput
from planner.host import output
from planner.host.output import descriptor_of, write_output


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode(tmp_path):
    """The old one is replaced whole: whoever has it open still reads what it held."""
    new, old = tmp_path / "new", tmp_path / "old"
    old.write_text("before")
    old.chmod(0o640)
    with old.open() as opened:
        for path in (new, old):
            write_output(str(path), "text")
        assert opened.read() == "before"
    assert (new.read_text(), mode(new)) == ("text", 0o600)
    assert (old.read_text(), mode(old)) == ("text", 0o640)
    assert names(tmp_path) == {"new", "old"}


@pytest.mark.parametrize("there", [True, False])
def test_links_are_followed(tmp_path, there):
    """A chain of relative links, also to nothing yet: the file at its end is written."""
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "real"
    if there:
        target.write_text("before")
    (tmp_path / "folder" / "second").symlink_to("real")
    first = tmp_path / "first"
    first.symlink_to("folder/second")
    write_output(str(first), "text")
    assert first.is_symlink()
    assert target.read_text() == "text"
    assert names(tmp_path / "folder") == {"real", "second"}


def test_a_fifo_is_written_to(tmp_path):
    """Its reader may come later; it is a FIFO still."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    writer = threading.Thread(target=lambda: write_output(str(fifo), "text" * 50_000))
    writer.start()
    reader.start()
    writer.join()
    reader.join()
    assert read == ["text" * 50_000]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_fifo_that_nobody_reads_is_an_error_in_the_end(tmp_path, monkeypatch):
    """It is not waited for for ever, and the FIFO stays."""
    monkeypatch.setattr(output, "_READER_WITHIN_S", 0.0)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(BadInput, match="no program reads"):
        write_output(str(fifo), "text")
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize(("kind", "number"), [(stat.S_IFCHR, (1, 3)), (stat.S_IFBLK, (7, 250))])
def test_a_device_is_never_replaced(tmp_path, kind, number):
    """A character device is written to; a disk is left alone."""
    device = tmp_path / "device"
    try:
        os.mknod(device, kind | 0o666, os.makedev(*number))
    except PermissionError:
        pytest.skip("making a device node needs root")
    if kind == stat.S_IFCHR:
        write_output(str(device), "text")
    else:
        with pytest.raises(BadInput, match="disk"):
            write_output(str(device), "text")
    assert stat.S_IFMT(device.stat().st_mode) == kind
    assert names(tmp_path) == {"device"}


def test_a_device_that_is_full_is_an_error():
    """What the system says of it is said."""
    with pytest.raises(BadInput, match="No space left"):
        write_output("/dev/full", "text")


@pytest.mark.parametrize("place", ["folder", "missing/file", "loop"])
def test_what_cannot_be_written_is_left_as_it_is(tmp_path, place):
    """One error, and no temporary file."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    before = names(tmp_path)
    with pytest.raises(BadInput) as refused:
        write_output(str(tmp_path / place), "text")
    assert refused.value.code == "file-unwritable"
    assert names(tmp_path) == before
    assert names(tmp_path / "folder") == set()


@pytest.mark.parametrize("there", [True, False])
def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path, monkeypatch, there):
    """Also where nothing was there."""
    path = tmp_path / "file"
    if there:
        path.write_text("before")

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.os, "fsync", fail)
    with pytest.raises(BadInput, match="No space left"):
        write_output(str(path), "text")
    assert names(tmp_path) == ({"file"} if there else set())
    assert not there or path.read_text() == "before"


def test_a_file_that_is_put_in_its_place_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    """Somebody who may write to the folder swaps it for a link to another file."""
    path, victim = tmp_path / "file", tmp_path / "victim"
    path.write_text("before")
    victim.write_text("theirs")
    write_all = output._write_all

    def swap(descriptor, data):
        path.unlink()
        path.symlink_to(victim)
        write_all(descriptor, data)

    monkeypatch.setattr(output, "_write_all", swap)
    with pytest.raises(BadInput, match="just now"):
        write_output(str(path), "text")
    assert victim.read_text() == "theirs"
    assert names(tmp_path) == {"file", "victim"}


def test_names_of_descriptors(tmp_path):
    """Also by a link; the descriptor of another process is a file."""
    link = tmp_path / "out"
    link.symlink_to("/dev/stdout")
    means = {
        "-": 1,
        "/dev/stdout": 1,
        "/dev/stderr": 2,
        "/dev/fd/7": 7,
        "/dev/../dev/fd/7": 7,
        "/proc/self/fd/3": 3,
        f"/proc/{os.getpid()}/fd/3": 3,
        "/proc/1/fd/3": None,
        str(link): 1,
        str(tmp_path / "plan"): None,
    }
    assert {path: descriptor_of(path) for path in means} == means


def test_a_descriptor_is_written_to_where_it_stands(tmp_path):
    """As a shell's `>>file` does it: nothing that was written before is lost."""
    path = tmp_path / "log"
    path.write_text("before ")
    with path.open("a") as log:
        write_output(f"/dev/fd/{log.fileno()}", "text")
    assert path.read_text() == "before text"
    with pytest.raises(BadInput, match="Bad file descriptor"):
        write_output("/dev/fd/1000000", "text")
