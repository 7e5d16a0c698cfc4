"""A design as a test in the style of QEMU's `tests/qemu-iotests/tests`, made from its model.

Every run that a real QEMU can have is one test: what is sent, what strikes, and what must be left
in the end are the model's.  A QEMU that lacks a command or an action skips the tests, and says what
it lacks.
"""

from __future__ import annotations

import json
import pprint
import re
from collections.abc import Iterator, Sequence

from planner.explore.back import BackSetting
from planner.explore.design import DesignFile
from planner.explore.spelling import Spelled, Unspelled
from planner.explore.spelling_copies import FILE, OnHost
from planner.explore.trying import TRIED_TAG, Tried, Trying
from planner.explore.vm_moves import bits
from planner.explore.walking import Deed
from planner.model.operations import Kind
from planner.present.proposal_iotest_words import COPYING, FOOT, HEAD
from planner.present.proposal_qapi import wrapped
from planner.present.visible import visible

__all__ = ["iotest_text"]

_Step = Spelled | OnHost


def iotest_text(design: DesignFile, tried: Trying) -> str:
    """The test, as the text of its file."""
    spelled = [each for each in tried.spelled if not isinstance(each, Unspelled)]
    sent = [each for each in spelled if isinstance(each, Spelled)]
    actions = dict.fromkeys(action for each in sent for action in each.actions)
    commands = dict.fromkeys(each.execute for each in sent)
    setting, disks = tried.setting, range(len(tried.setting.disks))
    outside = 0 if isinstance(setting, BackSetting) else setting.overlays | setting.copies
    copied = [] if isinstance(setting, BackSetting) else [*bits(setting.copies)]
    head = HEAD.format(
        about=_comment(f"{design.name}: {design.summary}"),
        tag=repr(TRIED_TAG),
        count=len(tried.setting.disks),
        vmstate=tried.setting.vmstate,
        commands=_value(list(commands), "COMMANDS = "),
        actions=_value(list(actions), "ACTIONS = "),
        back=isinstance(tried.setting, BackSetting),
        name=f"Test{_camel(design.name)}",
        internal=[disk for disk in disks if not outside >> disk & 1],
        copied=copied,
    )
    head += COPYING if copied else ""
    tests = [line for run in tried.runs for line in _test(spelled, run)]
    if not tests:
        reasons = "; ".join(dict.fromkeys(each.why for each in tried.left_out))
        tests = ["", "    def test_nothing_strikes(self):", f"        self.skipTest({reasons!r})"]
    return head + "\n".join(tests) + "\n" + FOOT


def _comment(text: str) -> str:
    return "\n".join(f"# {visible(line)}" for line in wrapped(text, 74))


def _camel(name: str) -> str:
    words = "".join(each if each.isalnum() and each.isascii() else " " for each in name).split()
    return "".join(word[:1].upper() + word[1:] for word in words) or "Design"


def _value(value: object, before: str) -> str:
    """A value as Python writes it, its further lines below its first."""
    lines = pprint.pformat(value, width=78 - len(before), sort_dicts=False).split("\n")
    return ("\n" + " " * len(before)).join(lines)


def _test(spelled: Sequence[_Step], run: Tried) -> Iterator[str]:
    yield ""
    yield f"    def test_{run.name}(self):"
    yield f"        {json.dumps(visible(run.says) + '.', ensure_ascii=False)}"
    broken = ", ".join(f"({each.disk}, {each.event!r})" for each in run.broken)
    yield f"        self.launch({broken})"
    for deed in run.walk.deeds:
        yield from _deed(spelled, run, deed)
    left = run.walk.left
    content = ""
    if left.saved and left.running is not None:
        words = ", ".join("SAVED" if each else "LATER" for each in left.saved)
        content = f", [{words}]"
    # where a delete fails, QEMU no longer shows what the image holds still
    deleting = any(each.kind is Kind.DELETE_DISK_SNAPSHOT for each in run.broken)
    on_disk = ", on_disk=True" if deleting else ""
    yield f"        self.check({list(left.parts)}, {left.running}{content}{on_disk})"
    if left.copies:
        yield f"        self.check_copies({', '.join(map(str, left.copies))})"
    if left.done and not left.saved and left.running is not None:
        yield "        self.check_whole()"


def _deed(spelled: Sequence[_Step], run: Tried, deed: Deed) -> Iterator[str]:
    said = deed.says[:1].upper() + deed.says[1:]
    yield from (f"        # {line}" for line in wrapped(visible(said) + ".", 68))
    match deed.what:
        case "send":
            yield from _call("send", spelled[deed.number], fails=run.fails == deed.number)
        case "refuse":
            yield from _call("refuse", spelled[deed.number])
        case "delete" | "repair":
            yield f"        self.delete({deed.number})"
        case "cont" | "stop":
            yield f"        self.send('{deed.what}', {{}})"
        case "close-copy":
            yield f"        self.send('blockdev-del', {{'node-name': 'copy{deed.number}'}})"
        case "cancel-copy" | "remove-copy":
            yield f"        self.{deed.what.replace('-', '_')}({deed.number})"
        case "kill":
            yield "        self.end(hard=True)"
        case _:
            pass


def _call(method: str, spelled: _Step, *, fails: bool = False) -> Iterator[str]:
    if isinstance(spelled, OnHost):
        if method == "send":
            yield f"        self.{spelled.does}({spelled.number})"
        return
    begin = f"        self.{method}({spelled.execute!r}, "
    arguments = json.loads(json.dumps(spelled.arguments))
    more = f", job={spelled.job!r}" if spelled.job and method == "send" else ""
    more += ", fails=True" if fails else ""
    short = f"{begin}{arguments!r}{more})"
    if len(short) <= 79:
        yield _with_files(short)
        return
    yield f"        self.{method}("
    yield f"            {spelled.execute!r},"
    yield _with_files(f"            {_value(arguments, ' ' * 12)}{more})")


def _with_files(text: str) -> str:
    """The call with the paths of the copies' files."""
    return re.sub(f"'{FILE.format(r'([0-9]+)')}'", r"PARTS[\1]", text)
