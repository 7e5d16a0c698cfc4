"""QMP messages out of what other programs write down: libvirt, QEMU's trace, Python's loggers.

Rules: a log is told by its own marks.  Of a log only what its marks announce is read, and how many lines
were passed over is said.  A command that a log has twice (as it is queued and as it is written) is read
as it was queued.  A log of several monitors is no one sequence, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import evolve, frozen

from planner.lint.qemu_json import first_object

__all__ = ["LogReading", "LoggedMessage", "read_log"]


@frozen
class LoggedMessage:
    """A message of a log.

    Attributes:
        line: Where it stands, from 1.
        value: The QMP object; None: it cannot be read.
        hmp: A line of the human monitor in its place; else empty.
        text: As it stands there.
        sent: Whether it went to QEMU.
    """

    line: int
    value: dict[str, object] | None
    hmp: str = ""
    text: str = ""
    sent: bool = False


@frozen
class LogReading:
    """What a log holds.

    Attributes:
        kind: Whose log it is, in words.
        messages: In its order.
        passed_over: How many of its lines are no message.
        monitors: The monitors that its commands went to.
    """

    kind: str
    messages: tuple[LoggedMessage, ...]
    passed_over: int
    monitors: tuple[str, ...]


@frozen
class _Form:
    """How a kind of log announces messages.

    Attributes:
        kind: Whose log it is.
        marks: Before what is sent, then before what comes back; groups ``monitor`` and ``message``.
        instead: What is read where nothing of ``marks[0]`` stands in the log.
        python: Whether messages are written as Python does.
    """

    kind: str
    marks: tuple[re.Pattern[str], ...]
    instead: tuple[re.Pattern[str], ...] = ()
    python: bool = False


def _mark(before: str) -> re.Pattern[str]:
    return re.compile(before + r"\s*(?P<message>\{.*)")


_LIBVIRT = r"QEMU_MONITOR_{}: mon=(?P<monitor>\S+) .*?{}="
_FORMS = (
    _Form(
        "libvirt's debug log",
        (
            _mark(_LIBVIRT.format("SEND_MSG", "msg")),
            _mark(_LIBVIRT.format("RECV_REPLY", "reply")),
            _mark(_LIBVIRT.format("RECV_EVENT", "event")),
        ),
        (
            _mark(_LIBVIRT.format("IO_WRITE", "buf")),
            _mark(_LIBVIRT.format("RECV_REPLY", "reply")),
            _mark(_LIBVIRT.format("RECV_EVENT", "event")),
            _mark(_LIBVIRT.format("IO_PROCESS", "buf")),
        ),
    ),
    _Form(
        "QEMU's trace",
        (
            _mark(r"handle_qmp_command mon (?P<monitor>\S+) req:"),
            _mark(r"monitor_qmp_respond mon (?P<monitor>\S+) resp:"),
        ),
    ),
    _Form(
        "avocado's log",
        (
            _mark(r"(?:\(monitor (?P<monitor>[^)]*)\).*)?Send command:"),
            re.compile(r"Sending command '(?P<hmp>[^']*)' \(via Human Monitor\)"),
        ),
        (re.compile(r"\(monitor (?P<monitor>[^)]*)\) Sending command '(?P<hmp>[^']*)'"),),
        python=True,
    ),
    _Form(
        "the log of qemu.qmp",
        (_mark(r"(?P<monitor>)(?:^|[\s:])-->"), _mark(r"(?P<monitor>)(?:^|[\s:])<--")),
    ),
    _Form(
        "the log of a Python client",
        (_mark(r"(?P<monitor>)>>>"), _mark(r"(?P<monitor>)<<<")),
        python=True,
    ),
)


def read_log(text: str) -> LogReading | None:
    """Read a log.

    Returns:
        What it holds; None: it is none that is known.
    """
    lines = text.splitlines()
    for form in _FORMS:
        for marks in (form.marks, form.instead):
            if marks and any(marks[0].search(line) for line in lines):
                return _read(form, marks, lines)
    return None


def _read(form: _Form, marks: Sequence[re.Pattern[str]], lines: Sequence[str]) -> LogReading:
    messages: list[LoggedMessage] = []
    monitors: dict[str, None] = {}
    passed_over = 0
    inside = 0
    for number, line in enumerate(lines, start=1):
        match = _marked(marks, line)
        if match is None:
            passed_over += number > inside and bool(line.strip())
            continue
        if match.re is marks[0]:
            monitors[match["monitor"] or ""] = None
        message, more = _message(lines, number, match, form)
        inside = number + more
        messages.append(evolve(message, sent=match.re is marks[0]))
    return LogReading(form.kind, tuple(messages), passed_over, tuple(monitors))


def _marked(marks: Sequence[re.Pattern[str]], line: str) -> re.Match[str] | None:
    found = (mark.search(line) for mark in marks)
    return next((match for match in found if match is not None), None)


def _message(
    lines: Sequence[str], number: int, match: re.Match[str], form: _Form
) -> tuple[LoggedMessage, int]:
    """The message that a line announces, and in how many lines more it goes on."""
    groups = match.groupdict()
    if groups.get("hmp"):
        return LoggedMessage(number, None, groups["hmp"]), 0
    text = groups["message"]
    value = first_object(text, python=form.python)
    more, whole = 0, text
    while value is None and _goes_on(whole, lines, number + more):
        whole += "\n" + lines[number + more]
        more += 1
        value = first_object(whole, python=form.python) if whole.endswith("}") else None
    return LoggedMessage(number, value, text=text), more if value is not None else 0


def _goes_on(text: str, lines: Sequence[str], following: int) -> bool:
    """Whether an object is open at a text's end, and the next line can be of it."""
    if following >= len(lines) or text.count("{") <= text.count("}"):
        return False
    return lines[following].startswith((" ", "\t", "}"))
