"""Shell scripts, lines of the human monitor and the guest agent's commands, as `check` reads them."""

import pytest

from planner.errors import BadInput
from planner.lint import lint, read_listing
from planner.lint.human import hmp_as_qmp

SOCAT = """#!/bin/bash
SOCK=/run/q.sock   # it's ours
echo '{ "execute": "qmp_capabilities" }
{ "execute": "stop" }' | socat - UNIX-CONNECT:$SOCK
qmp() { printf '%s\\n' '{"execute":"qmp_capabilities"}' "$1" | sudo nc -U "$SOCK"; }
qmp "{\\"execute\\":\\"block_resize\\",\\"arguments\\":{\\"device\\":\\"$DISK\\",\\"size\\":1}}"
cat <<EOF | socat - UNIX-CONNECT:$SOCK
{"execute": "block_resize",
 "arguments": {"device": "d", "size": $SIZE}}
EOF
socat - /run/mon.sock <<< "savevm nightly"
echo cont |
  /usr/bin/ncat -U /run/mon.sock && sleep 1
"""


def read(text):
    """Line, command and arguments of each command."""
    return [(c.line, c.execute, dict(c.arguments)) for c in read_listing(text).commands]


def test_what_a_script_sends_to_a_socket_is_read_in_its_order():
    """Quotes, functions, here-documents, here-strings, pipelines; what a variable is stays unknown."""
    assert read(SOCAT) == [
        (3, "qmp_capabilities", {}),
        (4, "stop", {}),
        (5, "qmp_capabilities", {}),
        (6, "block_resize", {"device": "$DISK", "size": 1}),
        (8, "block_resize", {"device": "d", "size": "$SIZE"}),
        (11, "human-monitor-command", {"command-line": "savevm nightly"}),
        (12, "cont", {}),
    ]
    passed_over = read_listing(SOCAT).passed_over
    assert passed_over[:2] == ("line 6: what $DISK is", "line 8: what $SIZE is")
    assert passed_over[2].endswith("of the shell script, which send nothing to QEMU")


def test_a_line_for_qmp_shell_is_read_as_it_reads_it():
    assert read("echo 'snapshot-delete job-id=j tag=t devices=[\"d\"]' | qmp-shell /run/q") == [
        (1, "snapshot-delete", {"job-id": "j", "tag": "t", "devices": ["d"]})
    ]


@pytest.mark.parametrize(
    "text",
    [
        'for c in stop cont; do echo "$c" | socat - UNIX:/run/mon; done',
        """echo '{"execute":"stop", "arguments":'$ARGUMENTS'} ' $MORE | nc -U /run/q""",
    ],
)
def test_what_only_the_shell_knows_may_be_anything(text):
    """It may have stopped the guest: what comes behind is no finding."""
    (command,) = read_listing(text).commands
    assert command.foreign
    assert "$" in command.execute


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "#!/bin/sh\necho 'savevm | nc -U /run/q",
            "line 2: a quote is opened here and never closed",
        ),
        ("""echo '{"execute":}' | nc -U /q""", "line 1: a QMP message that cannot be read"),
        ("#!/bin/sh\nsleep 1\n", "there is no QMP command in it"),
    ],
)
def test_a_script_that_cannot_be_read_says_where(text, why):
    with pytest.raises(BadInput) as failed:
        read_listing(text)
    (problem,) = failed.value.problems
    assert why in f"{problem.subject}: {problem.message}"


def test_a_python_script_is_no_shell_script():
    with pytest.raises(BadInput):
        read_listing("#!/usr/bin/env python3\nimport socket\n")


SLOW = """DEBUG:qemu.qmp.protocol.vm:--> {
  "execute": "stop",
  "id": "__qmp#00001"
}
DEBUG:qemu.qmp.protocol.vm:<-- {
  "return": {},
  "id": "__qmp#00001"
}
DEBUG:qemu.qmp.protocol.vm:Task.Reader: cancelled.
DEBUG:qemu.qmp.protocol.vm:--> {
  "execute": "cont"
}
"""


def test_the_log_of_qemu_qmp_spreads_a_message_over_lines():
    listing = read_listing(SLOW)
    assert [(c.line, c.execute, c.answered) for c in listing.commands] == [
        (1, "stop", True),
        (10, "cont", False),
    ]
    assert listing.passed_over == ("1 line of the log of qemu.qmp beside the messages",)


HUMAN = {
    "migrate -d exec:cat>/s": ("migrate", {"uri": "exec:cat>/s"}),
    'migrate "exec:gzip -c > /s"': ("migrate", {"uri": "exec:gzip -c > /s"}),
    "migrate -r -d tcp:h:1": ("migrate", {"uri": "tcp:h:1", "resume": True}),
    "migrate_set_capability background-snapshot on": (
        "migrate-set-capabilities",
        {"capabilities": [{"capability": "background-snapshot", "state": True}]},
    ),
    "snapshot_blkdev -n d /o raw": (
        "blockdev-snapshot-sync",
        {"device": "d", "snapshot-file": "/o", "format": "raw", "mode": "existing"},
    ),
    "snapshot_blkdev_internal d t": (
        "blockdev-snapshot-internal-sync",
        {"device": "d", "name": "t"},
    ),
    "snapshot_delete_blkdev_internal d t 3": (
        "blockdev-snapshot-delete-internal-sync",
        {"device": "d", "name": "t", "id": "3"},
    ),
    "drive_backup -f d /b": ("drive-backup", {"device": "d", "target": "/b", "sync": "full"}),
    "drive_mirror d /b qcow2": (
        "drive-mirror",
        {"device": "d", "target": "/b", "format": "qcow2", "sync": "top"},
    ),
    "block_resize d 16": ("block_resize", {"device": "d", "size": 16 * 2**20}),
    "block_resize d 2G": ("block_resize", {"device": "d", "size": 2 * 2**30}),
    "device_add virtio-rng-pci,id=r": ("device_add", {"driver": "virtio-rng-pci", "id": "r"}),
    "device_del r": ("device_del", {"id": "r"}),
    "block_job_cancel -f d": ("block-job-cancel", {"device": "d", "force": True}),
    "info migrate": ("query-migrate", {}),
    "savevm t": None,
    "snapshot_blkdev d": None,
    "block_resize d all": None,
    "info registers": None,
    "": None,
}


@pytest.mark.parametrize("line", HUMAN)
def test_a_line_of_the_human_monitor_is_the_command_that_qemu_runs_for_it(line):
    """tests/live/test_human_lines.py does the same on a real QEMU."""
    assert hmp_as_qmp(line) == HUMAN[line]


def test_the_human_monitor_waits_for_a_migration_that_is_not_detached():
    typed = "(qemu) migrate{} exec:cat>/s\n"
    assert [c.execute for c in read_listing(typed.format("")).commands] == [
        "migrate",
        "query-migrate",
    ]
    assert [c.execute for c in read_listing(typed.format(" -d")).commands] == ["migrate"]


def test_an_error_of_the_human_monitor_is_a_text():
    """A recording shows it as a reply; the command did nothing then."""
    sent = (
        '{"execute": "human-monitor-command", "arguments": {"command-line": "device_del x"}}\n'
        '{"return": "Error: Device \'x\' not found\\r\\n"}'
    )
    (command,) = read_listing(sent).commands
    assert (command.execute, command.refused) == ("device_del", "Error: Device 'x' not found")


def rules(text):
    """Line and rule of each finding about the recorded or typed lines."""
    return [(each.line, each.rule) for each in lint(read_listing(text), None).findings]


FREEZE = '{"execute":"guest-fsfreeze-freeze"}\n'
THAW = '{"execute":"guest-fsfreeze-thaw"}\n'
TAKE = "blockdev-snapshot-internal-sync device=disk{} name=a\n"
STOP, CONT = "stop\n", "cont\n"
FROZEN = {
    "as it should be": (FREEZE + STOP + TAKE.format(0) + TAKE.format(1) + CONT + THAW, []),
    "never thawed": (FREEZE + STOP + TAKE.format(0) + CONT, [1]),
    "frozen while it stands": (STOP + FREEZE + TAKE.format(0) + CONT + THAW, [2]),
    "thawed while it stands": (FREEZE + STOP + TAKE.format(0) + THAW + CONT, [4]),
    "a disk after the thaw": (
        FREEZE + TAKE.format(0) + THAW + TAKE.format(1),
        [4],
    ),
    "another snapshot after the thaw": (
        FREEZE + TAKE.format(0) + THAW + TAKE.format(1).replace("name=a", "name=b"),
        [],
    ),
}


@pytest.mark.parametrize("case", FROZEN)
def test_file_systems_are_frozen_around_every_disk(case):
    text, lines = FROZEN[case]
    assert [line for line, rule in rules(text) if rule == "frozen-capture"] == lines


def test_the_guest_agent_s_commands_are_no_commands_that_qemu_lacks():
    report = lint(read_listing(FREEZE + THAW, version="10.0"), None)
    assert report.findings == ()
    assert "line 1: what the guest agent makes of guest-fsfreeze-freeze" in report.unchecked
    calls = 'virsh domfsfreeze web\nvirsh qemu-agent-command web \'{"execute":"guest-ping"}\'\n'
    assert read(calls) == [(1, "guest-fsfreeze-freeze", {}), (2, "guest-ping", {})]


COPIED = "drive-backup device=disk{0} target=/b{0} sync=full mode=existing\n"
OVER = "blockdev-snapshot-sync device=disk{0} snapshot-file=/o{0} mode=existing\n"


def test_copies_without_a_job_id_are_of_drives_and_their_instants_are_compared():
    """A job takes the id of `-drive`; the two are of two instants, since the guest runs."""
    assert rules(COPIED.format(0) + COPIED.format(1)) == [(2, "one-instant")]
    assert rules("stop\n" + COPIED.format(0) + COPIED.format(1) + "cont") == []


def test_an_overlay_behind_the_machine_state_is_of_its_pause():
    """The work-around of QEMU's list, in the human monitor's words; a drive is named by its id."""
    text = "(qemu) stop\n(qemu) migrate exec:sh\n(qemu) snapshot_blkdev -n disk0 /o\n(qemu) cont\n"
    assert rules(text) == []
    early = "(qemu) snapshot_blkdev -n disk0 /o\n(qemu) migrate exec:sh\n(qemu) cont\n"
    found = lint(read_listing(early), None).findings
    assert any("disk0 is captured at another instant" in each.message for each in found)


def test_who_completes_a_job_has_waited_until_it_was_ready():
    text = OVER.format(0) + "block-commit device=disk0 job-id=c\nblock-job-complete device=c\n"
    assert rules(text) == []
