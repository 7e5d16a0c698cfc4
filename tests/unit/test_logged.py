"""What goes to the log: one line each, and nothing that may be a secret."""

import json
import logging

import pytest

from backends.logged import LOG, log_answer, log_command
from planner.run.reporting import Teller


@pytest.fixture
def log(caplog):
    """What is logged, at every level."""
    caplog.set_level(logging.DEBUG, "snapplan")
    return caplog


def test_a_secret_is_not_logged(log):
    """Wherever it stands; the name of the object that holds it is."""
    log_command(
        "object-add",
        {"qom-type": "secret", "id": "s0", "data": "hidden", "more": [{"password": "hidden"}]},
    )
    log_command("blockdev-add", {"encrypt": {"key-secret": "s0"}})
    assert "hidden" not in log.text
    assert json.loads(log.messages[1].removeprefix("> blockdev-add ")) == {
        "encrypt": {"key-secret": "s0"}
    }


def test_a_line_stays_a_line(log):
    """Names and QEMU's words may hold anything."""
    log_command("query-block", {"device": "a\nb\x1b[2J"})
    log_answer("query-block", 0.001, ValueError("two\nlines"))
    Teller().note("disk 'a\nb\x1b[2J'")
    Teller().step(1, 2, "stop\rx")
    assert all(message.isprintable() for message in log.messages)
    assert log.messages[3] == "step 1 of 2: stop\\rx"


def test_nobody_who_listens_costs_nothing(caplog):
    """Arguments are not even turned into text."""
    caplog.set_level(logging.WARNING, "snapplan")

    class Loud:
        def __str__(self):
            raise AssertionError("it is not asked for")

    log_command("query-block", {"device": Loud()})
    assert not LOG.isEnabledFor(logging.DEBUG)
    assert caplog.messages == []
