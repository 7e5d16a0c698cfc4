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
        ("[1, 2]", "line 1"),
        ('[{"execute": "stop"}', "line 1"),
        ("virsh qemu-monitor-command vm", "line 1"),
        ("virsh qemu-monitor-command vm '{\"execute\"'", "line 1"),
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


def executed(text):
    return [(command.line, command.execute) for command in read_listing(text).commands]


SINGLE = "{'execute': 'human-monitor-command', 'arguments': {'command-line': 'it\\'s \"x\"'}}"


def test_json_between_single_quotes_is_json_as_for_qemu():
    """QEMU takes single quotes, and an escaped one in them."""
    (command,) = read_listing(SINGLE).commands
    assert command.arguments == {"command-line": 'it\'s "x"'}


def test_a_json_array_is_its_messages_each_at_its_line():
    """As a program writes down what it sent."""
    assert executed('[\n{"execute": "stop"},\n\n {"execute":\n"cont"}]') == [
        (2, "stop"),
        (4, "cont"),
    ]


def test_a_key_that_stands_twice_is_no_json_for_qemu():
    """QEMU says "duplicate key", and does nothing."""
    with pytest.raises(BadInput):
        read_listing('{"execute": "stop", "execute": "cont"}')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"execute": "stop", "data": {}}', "QMP input member 'data' is unexpected"),
        ('{"execute": "stop", "arguments": 3}', "QMP input member 'arguments' must be an object"),
        ('{"execute": 5}', "QMP input member 'execute' must be a string"),
        ('{"execute": "a", "exec-oob": "b"}', "QMP input member 'exec-oob' is unexpected"),
    ],
)
def test_what_qemu_takes_for_no_command_says_why_in_its_words(text, said):
    """Measured on 7.2 and 11.1."""
    (command,) = read_listing(text).commands
    assert command.malformed == said


def test_what_qmp_shell_shows_of_what_it_sends_counts_once():
    """`qmp-shell -v` prints each command after it was typed; the same typed twice counts twice."""
    shown = '{\n    "arguments": {},\n    "execute": "stop"\n}\n{"return": {}}\n'
    assert executed(f"(QEMU) stop\n{shown}(QEMU) stop\n{shown}") == [(1, "stop"), (7, "stop")]


LIBVIRT = """2024-05-01 10:00:00.001+0000: 12: info : qemuMonitorSend:8 : QEMU_MONITOR_SEND_MSG: mon=0x7f msg={"execute":"stop","id":"libvirt-11"}\r
 fd=-1
2024-05-01 10:00:00.002+0000: 13: info : qemuMonitorIOWrite:3 : QEMU_MONITOR_IO_WRITE: mon=0x7f buf={"execute":"stop","id":"libvirt-11"}\r
 len=40 ret=40 errno=0
2024-05-01 10:00:00.003+0000: 13: info : x:2 : QEMU_MONITOR_RECV_EVENT: mon=0x7f event={"event": "STOP"}
2024-05-01 10:00:00.004+0000: 13: info : x:2 : QEMU_MONITOR_RECV_REPLY: mon=0x7f reply={"error": {"desc": "no"}, "id": "libvirt-11"}
2024-05-01 10:00:00.005+0000: 12: debug : qemuDomainObjBeginJob:1 : {"execute": "cont"}
"""  # noqa: E501 - as libvirt writes them


def test_of_libvirt_s_log_the_messages_are_read_each_once():
    """As queued and as written is one command; its reply and the events are used."""
    listing = read_listing(LIBVIRT)
    stop, event = listing.entries
    assert (stop.line, stop.execute, stop.refused) == (1, "stop", "no")
    assert event == Said(5, "STOP")
    assert listing.passed_over == ("4 lines of libvirt's debug log beside the messages",)


def test_libvirt_s_log_without_what_it_queued_is_read_by_what_it_wrote():
    """With other log filters only the writes are there."""
    lines = [line for line in LIBVIRT.splitlines() if "SEND_MSG" not in line]
    assert executed("\n".join(lines)) == [(2, "stop")]


def test_a_log_of_two_monitors_is_no_one_sequence():
    """Two VMs' commands must not be judged as one VM's."""
    with pytest.raises(BadInput, match="program") as caught:
        read_listing(LIBVIRT + LIBVIRT.replace("0x7f", "0x8f").replace("libvirt-11", "libvirt-21"))
    assert "0x7f, 0x8f" in caught.value.problems[0].message


def test_qemu_s_own_trace_is_read():
    """``-trace handle_qmp_command -trace monitor_qmp_respond``, as 7.2 and 11.1 write it."""
    text = """monitor_qmp_respond mon 0x5 resp: {"QMP": {"version": {"qemu": {"micro": 3, "minor": 1, "major": 11}}}}
handle_qmp_command mon 0x5 req: {"execute": "query-status"}
monitor_qmp_respond mon 0x5 resp: {"return": {}}
{"return": {}}
handle_qmp_command mon 0x5 req: {"arguments": {}}
"""  # noqa: E501
    listing = read_listing(text)
    first, second = listing.commands
    assert (first.execute, first.answered, listing.version) == ("query-status", True, "11.1.3")
    assert second.malformed == "QMP input lacks member 'execute'"


AVOCADO = """(monitor vm.q) Sending command 'stop'
Send command: {'execute': 'stop'}
(monitor vm.q) Sending command 'savevm a' (via Human Monitor)"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10:00 DEBUG| Send command: {'execute': 'stop', 'id': 'a', 'x': True}", [(1, "stop")]),
        (
            AVOCADO,
            [(2, "stop"), (3, "human-monitor-command")],
        ),
        ("DEBUG qemu >>> {'execute': 'stop'}\nDEBUG qemu <<< {'return': {}}", [(1, "stop")]),
        ("DEBUG| (monitor vm1.hmp1) Sending command 'stop'", [(1, "stop")]),
    ],
)
def test_logs_of_python_programs_are_read_with_python_s_own_words(text, expected):
    """avocado and QEMU's Python package write dictionaries, not JSON."""
    assert executed(text) == expected


def test_a_session_of_the_human_monitor_is_what_was_typed():
    """A terminal's copy repeats a line while it grows; what it showed in the end counts."""
    typed = (
        "(qemu) s\x1b[K\x1b[Dsa\x1b[K\x1b[2Dsavevm y\bx\x1b[K\r\nsome output\n(qemu) c\n(qemu) \n"
    )
    first, second = read_listing(typed).commands
    assert (first.line, first.arguments) == (1, {"command-line": "savevm x"})
    assert (second.line, second.execute) == (3, "cont")


VIRSH = """#!/bin/sh
sudo virsh -c qemu:///system suspend web
virsh qemu-monitor-command web --pretty '{"execute": "query-block",
  "arguments": {}}'
virsh qemu-monitor-command --hmp web 'savevm t'
virsh snapshot-create-as web t \\
   --disk-only
sleep 1
virsh resume web
"""


def test_calls_of_virsh_in_a_script_are_what_they_send():
    """What libvirt does by itself is named, and not known here."""
    listing = read_listing(VIRSH)
    assert [(c.line, c.execute, c.foreign) for c in listing.commands] == [
        (2, "stop", False),
        (3, "query-block", False),
        (5, "human-monitor-command", False),
        (6, "virsh snapshot-create-as", True),
        (9, "cont", False),
    ]
    assert listing.passed_over == ("1 command of the shell script, which sends nothing to QEMU",)


COPY = """# virsh qemu-monitor-command vm '{"execute": "object-add", \\
> "arguments": {"qom-type": "secret", "id": "s", "data": "a"}}'
[root@host ~]# virsh qemu-monitor-command --domain vm --hmp --cmd 'savevm a'
user@host:~$ sudo virsh qemu-monitor-command vm --pass-fds=3 '{ "execute": "stop" }'
"""


def test_a_terminal_s_copy_of_virsh_is_read_without_its_prompts():
    """As mails and pages show them; behind a prompt, `>` begins a line that goes on."""
    listing = read_listing(COPY)
    assert [(c.line, c.execute) for c in listing.commands] == [
        (1, "object-add"),
        (3, "human-monitor-command"),
        (4, "stop"),
    ]
    assert listing.commands[0].arguments["id"] == "s"


def test_in_a_script_a_call_behind_a_hash_is_a_comment():
    """Where other lines call virsh without one, or the script says so at its head."""
    assert executed("virsh resume web\n# virsh suspend web") == [(1, "cont")]
    with pytest.raises(BadInput):
        read_listing("#!/bin/sh\n# virsh suspend web")


def test_virsh_takes_its_options_in_any_order():
    """The domain is not the first word then."""
    text = "virsh snapshot-create-as --name s --domain web --disk-only\nvirsh resume --domain=web"
    assert executed(text) == [(1, "virsh snapshot-create-as"), (2, "cont")]


def test_a_script_about_two_domains_is_no_one_sequence():
    """As for two monitors."""
    with pytest.raises(BadInput):
        read_listing(VIRSH + "virsh suspend db\n")


def test_a_version_that_the_text_says_goes_before_the_one_that_is_given():
    """`check --qemu` is for texts that do not say it."""
    greeting = '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 22}}}}\n'
    assert read_listing("stop", version="10.0").version == "10.0"
    assert read_listing(greeting + "stop", version="10.0").version == "7.2.22"


def test_a_client_may_give_each_command_the_same_id():
    """An id is the client's own: QEMU sends it back and asks no more of it."""
    line = 'handle_qmp_command mon 0x5 req: {"execute": "cont", "id": 1}\n'
    assert executed(line + line) == [(1, "cont"), (2, "cont")]
