"""Every way in which a sequence can be written is read the same; what is none is reported."""

import pytest

from planner.errors import BadInput
from planner.lint import Command, Said, read_listing

SAVE = {"job-id": "j", "tag": "t", "vmstate": "disk0", "devices": ["disk0", "disk1"]}
JSON_LINE = (
    '{"execute": "snapshot-save", "arguments": {"job-id": "j", "tag": "t", "vmstate": "disk0", '
    '"devices": ["disk0", "disk1"]}}'
)
PRETTY = JSON_LINE.replace(", ", ",\n  ")
TYPED = 'snapshot-save job-id=j tag=t vmstate=disk0 devices=["disk0", "disk1"]'


@pytest.mark.parametrize("text", [JSON_LINE, PRETTY, "-> " + JSON_LINE, TYPED, "(QEMU) " + TYPED])
def test_a_command_reads_alike_however_it_is_written(text):
    """JSON on one line or several, with arrows, and typed lines are the same command."""
    assert read_listing("# a comment\n\n" + text).commands == (Command(3, "snapshot-save", SAVE),)


@pytest.mark.parametrize(
    "text",
    [
        "transaction(\nblockdev-snapshot-internal-sync device=disk1 name=t\n)",
        "(QEMU) transaction(\nTRANS> blockdev-snapshot-internal-sync device=disk1 name=t\nTRANS> )",
        "transaction( blockdev-snapshot-internal-sync device=disk1 name=t )",
    ],
)
def test_a_typed_transaction_is_one_command(text):
    """qmp-shell's transaction block becomes one transaction at the line where it begins."""
    action = {"type": "blockdev-snapshot-internal-sync", "data": {"device": "disk1", "name": "t"}}
    assert read_listing(text).commands == (Command(1, "transaction", {"actions": [action]}),)


def test_typed_values_are_typed_as_qmp_shell_types_them():
    """Numbers, booleans, JSON, quotes and dots mean what they mean in qmp-shell."""
    line = "blockdev-add node-name='a b' read-only=true file.driver=file size=12 x={'k': 1}"
    (command,) = read_listing(line).commands
    assert command.arguments == {
        "node-name": "a b", "read-only": True, "file": {"driver": "file"}, "size": 12, "x": {"k": 1},
    }  # fmt: skip


def test_what_qmp_shell_says_when_it_connects_is_no_command():
    """A terminal's copy begins with qmp-shell's greeting, which names the QEMU."""
    greeting = "Welcome to the QMP low-level shell!\nConnected to QEMU 10.0.2\n\n(QEMU) stop\n"
    listing = read_listing(greeting)
    assert listing.version == "10.0.2"
    assert [command.execute for command in listing.commands] == ["stop"]


def test_a_recording_s_answers_events_and_version_are_used():
    """Errors go to their command, by id or in order; the greeting gives QEMU's version."""
    text = """{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}}}
{"execute": "stop", "id": 1}
{"execute": "cont", "id": 2}
{"error": {"class": "GenericError", "desc": "no"}, "id": 2}
{"event": "STOP", "timestamp": {}}
{"return": {}, "id": 1}
"""
    listing = read_listing(text)
    assert listing.version == "7.2.22"
    stop, cont, event = listing.entries
    assert (stop.answered, stop.refused) == (True, "")
    assert (cont.answered, cont.refused) == (True, "no")
    assert event == Said(5, "STOP")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "the whole"),
        ("# only a comment", "the whole"),
        ("hello world", "line 1"),
        ('{"execute": "stop"}\n{"execute": ', "line 2"),
        ('{"neither": 1}', "line 1"),
        ('{"execute": "stop", "arguments": 3}', "line 1"),
        ("stop\ntransaction(\nstop", "line 2"),
        ("snapshot-save devices=[1,", "line 1"),
        ("{" * 5000, "line 1"),
    ],
)
def test_what_is_no_sequence_is_reported_with_its_line(text, where):
    """Nothing is skipped in silence."""
    with pytest.raises(BadInput) as caught:
        read_listing(text)
    assert caught.value.code == "program-unreadable"
    assert caught.value.problems[0].subject == where
