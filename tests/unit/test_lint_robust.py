"""No text and no arguments make the lint fail: it reads, or says that it cannot."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.errors import BadInput
from planner.lint import Command, Listing, lint, read_listing
from planner.model.facts_text import read_facts
from tests.unit.lint_codes import lint_codes

FACTS = read_facts(Path("specs/examples/uefi-guest.facts.json").read_text(), "facts")
EXECUTES = [
    "stop", "cont", "snapshot-save", "snapshot-load", "snapshot-delete", "transaction", "migrate",
    "blockdev-snapshot-internal-sync", "blockdev-snapshot-delete-internal-sync", "query-jobs",
    "blockdev-snapshot", "blockdev-add", "migrate-set-capabilities", "query-migrate",
    "migrate-continue", "job-dismiss", "human-monitor-command", "getfd", "quit", "savevm",
]  # fmt: skip
NAMES = st.sampled_from(["disk0", "disk1", "vars0", "t", "1", "", "#block12", "@disk0", "ov"])
SIMPLE = NAMES | st.none() | st.booleans() | st.integers() | st.text(max_size=4)
DATA = st.dictionaries(st.sampled_from(["device", "node", "name", "overlay", "id"]), SIMPLE)
ACTION = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from([*EXECUTES, "abort"]) | SIMPLE, "data": DATA | SIMPLE}
)
VALUE = SIMPLE | st.lists(SIMPLE | ACTION, max_size=3) | DATA
KEYS = [
    "job-id", "tag", "vmstate", "devices", "device", "name", "id", "actions", "properties", "uri",
    "capabilities", "state", "node", "overlay", "node-name", "driver", "command-line", "fdname",
]  # fmt: skip
KNOWN = {*lint_codes(), "argument-lacking"}  # of the schema, which says more than one thing
COMMANDS = st.builds(
    Command,
    st.integers(1, 9),
    st.sampled_from(EXECUTES),
    st.dictionaries(st.sampled_from(KEYS), VALUE),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(entries=st.lists(COMMANDS, max_size=6), facts=st.sampled_from([None, FACTS]))
def test_any_commands_can_be_linted(entries, facts):
    """Whatever the arguments are, findings come out, each of a known rule, alike each time."""
    listing = Listing(tuple(entries))
    report = lint(listing, facts)
    assert {finding.rule for finding in report.findings} <= KNOWN
    assert lint(listing, facts) == report


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="{}[]()\":,=-> \nabcQEMU#'1", max_size=60))
def test_any_text_is_read_or_refused(text):
    """There is no third way."""
    try:
        commands, code = read_listing(text).commands, ""
    except BadInput as error:
        commands, code = (), error.code
    assert bool(commands) == (code != "program-unreadable")


@pytest.mark.parametrize("count", [2000])
def test_a_long_recording_is_linted_in_reasonable_time(count):
    """Linear: thousands of commands take seconds."""
    text = "".join(
        f'{{"execute": "stop", "id": {n}}}\n{{"return": {{}}, "id": {n}}}\n{{"execute": "cont"}}\n'
        for n in range(count)
    )
    assert lint(read_listing(text)).findings == ()


PIECES = [
    "'",
    '"',
    "\\",
    "|",
    "<<E\n",
    "E\n",
    "#",
    "$x",
    ";",
    " ",
    "\n",
    "socat - a",
    "echo ",
    "savevm t",
]
MESSAGES = [
    '{"execute":"stop"}',
    "{'execute':'cont'}",
    '{"execute":',
    "virsh resume d",
    "(qemu) stop",
]


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(st.sampled_from([*PIECES, *MESSAGES]), max_size=12))
def test_any_shell_script_is_read_or_refused(pieces):
    """Quotes that stay open, here-documents without an end, a backslash at the end."""
    try:
        commands, code = read_listing("#!/bin/sh\n" + "".join(pieces)).commands, ""
    except BadInput as error:
        commands, code = (), error.code
    assert bool(commands) == (code != "program-unreadable")
