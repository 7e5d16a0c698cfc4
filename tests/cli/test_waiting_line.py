"""A command at a terminal that has nothing to tell says that it is at work, and for how long."""

import contextlib
import re
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.terminal import Terminal

SNAPPLAN = Path(sys.executable).with_name("snapplan")


@pytest.fixture
def silent():
    """The socket of something that takes a connection and never says a word."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(socket.socket(socket.AF_UNIX)) as listening,
    ):
        listening.bind(f"{folder}/qmp")
        listening.listen()
        yield f"{folder}/qmp"


def test_a_vm_that_says_nothing_is_waited_for_with_words(silent):
    """They move, they are gone before the error is told, and Ctrl-C works as ever."""
    with Terminal(SNAPPLAN, "inspect", "--vm", silent, TERM="xterm") as terminal:
        terminal.until("snapplan inspect is at work, 1 s")
        assert terminal.interrupt() == 130
    last = terminal.shown.rpartition("at work")[2]
    assert re.fullmatch(r", \d+ s(\^C)?\r\x1b\[2K\s*snapplan: stopped .*", last, re.DOTALL), last
    turns = re.findall(r"([-|/\\]) snapplan inspect is at work", terminal.shown)
    assert len(set(turns)) > 1, terminal.shown


@pytest.mark.long
@pytest.mark.parametrize("more", [{"TERM": "dumb"}, {"TERM": "xterm"}])
def test_where_it_has_no_place_it_is_not_drawn(silent, more):
    """On a terminal that cannot wipe a line; on one where somebody types the request."""
    words = ("inspect",) if more["TERM"] == "dumb" else ("plan", "-")
    with Terminal(SNAPPLAN, *words, "--vm", silent, **more) as terminal:
        assert "at work" not in terminal.still(2.5)
        terminal.interrupt()
