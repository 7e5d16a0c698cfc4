"""A design as a test in the style of QEMU's `tests/qemu-iotests/tests`, made from its model.

Every run that a real QEMU can have is one test: what is sent, what strikes, and what must be left
in the end are the model's.  A QEMU that lacks a command or an action skips the tests, and says what
it lacks.
"""

from __future__ import annotations

import json
import pprint
from collections.abc import Iterator, Sequence

from planner.explore.back import BackSetting
from planner.explore.design import DesignFile
from planner.explore.spelling import Spelled
from planner.explore.trying import TRIED_TAG, Tried, Trying
from planner.explore.walking import Deed
from planner.model.operations import Kind
from planner.present.proposal_qapi import wrapped
from planner.present.visible import visible

__all__ = ["iotest_text"]

_HEAD = '''#!/usr/bin/env python3
# group: rw snapshot
#
{about}
#
# Made by `snapplan design page` from the model of the design: each test is
# one run of the model, and what must be left in the end is what it says.
#
# SPDX-License-Identifier: GPL-2.0-or-later

import os
import time

import iotests
from iotests import qemu_img, qemu_img_info, qemu_io

TAG = {tag}
DISKS = [os.path.join(iotests.test_dir, f'disk{{number}}.img')
         for number in range({count})]
VMSTATE = {vmstate}     # the disk that holds the machine state; -1: none
COMMANDS = {commands}
ACTIONS = {actions}
SNAPSHOT_IS_THERE = {back}
SAVED, LATER = 1, 2     # what the disks are filled with


class {name}(iotests.QMPTestCase):
    def setUp(self):
        self.alive = False
        self.addCleanup(self.clean_up)
        for path in DISKS:
            qemu_img('create', '-f', iotests.imgfmt, path, '16M')
            qemu_io('-c', f'write -P {{SAVED}} 0 64k', path)
        if SNAPSHOT_IS_THERE:
            self.launch()
            self.take_snapshot()
            self.end()
            for path in DISKS:
                qemu_io('-c', f'write -P {{LATER}} 0 64k', path)

    def clean_up(self):
        self.end()
        for path in DISKS:
            for each in (path, path + '.blkdebug'):
                if os.path.exists(each):
                    os.remove(each)

    def launch(self, *broken):
        """Start QEMU; the images of broken disks fail after an event."""
        self.vm = iotests.VM()
        # savevm puts the machine state into the first disk
        for number in sorted(range(len(DISKS)), key=lambda n: n != VMSTATE):
            path = DISKS[number]
            events = [event for disk, event in broken if disk == number]
            if events:
                rules = path + '.blkdebug'
                with open(rules, 'w', encoding='utf-8') as file:
                    for event in events:
                        file.write(f'[inject-error]\\nevent = "{{event}}"\\n'
                                   'errno = "5"\\nonce = "on"\\n')
                path = f'blkdebug:{{rules}}:{{path}}'
            self.vm.add_drive(path, f'node-name=disk{{number}}')
        self.vm.launch()
        self.alive = True
        self.check_qemu()

    def check_qemu(self):
        """Skip the test where this QEMU lacks what the design needs."""
        known = {{each['name'] for each in self.ask('query-commands')}}
        for name in COMMANDS:
            if name not in known:
                self.skipTest(f'this QEMU has no {{name}}')
        schema = {{each['name']: each for each in self.ask('query-qmp-schema')}}
        transaction = schema[schema['transaction']['arg-type']]
        actions = next(each['type'] for each in transaction['members']
                       if each['name'] == 'actions')
        action = schema[schema[actions]['element-type']]
        known = {{each['case'] for each in action['variants']}}
        for name in ACTIONS:
            if name not in known:
                self.skipTest(f'this QEMU has no transaction action {{name}}')

    def ask(self, command, **arguments):
        return self.vm.qmp(command, **arguments)['return']

    def take_snapshot(self):
        """What the design goes back to, or deletes, by today's commands."""
        nodes = [f'disk{{number}}' for number in range(len(DISKS))]
        if VMSTATE >= 0:
            self.send('snapshot-save', {{
                'job-id': 'saved', 'tag': TAG, 'devices': nodes,
                'vmstate': f'disk{{VMSTATE}}'}}, job='saved')
            return
        self.send('transaction', {{'actions': [
            {{'type': 'blockdev-snapshot-internal-sync',
             'data': {{'device': node, 'name': TAG}}}} for node in nodes]}})

    def send(self, command, arguments, job=None, fails=False):
        """Send a command, wait for its job, and see whether it failed."""
        result = self.vm.qmp(command, **arguments)
        error = result.get('error')
        if error is None and job:
            error = self.error_of_job(job)
        if error is None and command == 'human-monitor-command':
            error = result['return']
        self.assertEqual(bool(error), fails, f'{{command}}: {{error}}')

    def error_of_job(self, job):
        while True:
            [found] = [each for each in self.ask('query-jobs')
                       if each['id'] == job]
            if found['status'] == 'concluded':
                break
            time.sleep(0.01)
        self.ask('job-dismiss', id=job)
        return found.get('error')

    def refuse(self, command, arguments):
        """The command fails before it does anything: it has a strange member."""
        result = self.vm.qmp(command, **arguments, **{{'no-such-member': True}})
        self.assertIn('error', result)

    def end(self, hard=False):
        if self.alive:
            self.vm.shutdown(hard=hard)
            self.alive = False

    def delete(self, number):
        """The client deletes what its run has made on a disk."""
        if self.alive:
            self.send('blockdev-snapshot-delete-internal-sync',
                      {{'device': f'disk{{number}}', 'name': TAG}})
        else:
            qemu_img('snapshot', '-d', TAG, DISKS[number])

    def snapshots(self, number):
        if self.alive:
            [node] = [each for each in self.ask('query-named-block-nodes')
                      if each.get('node-name') == f'disk{{number}}']
            image = node['image']
        else:
            image = qemu_img_info(DISKS[number])
        return [each for each in image.get('snapshots', [])
                if each['name'] == TAG]

    def check(self, parts, running, content=(), on_disk=False):
        """What is left: the run state, parts by disk, what the disks read."""
        if running is not None:
            self.assertEqual(self.ask('query-status')['running'], running)
        if on_disk:
            self.end()
        found = [len(self.snapshots(number)) for number in range(len(DISKS))]
        self.assertEqual(found, parts)
        if content:
            self.check_content(content)

    def check_content(self, content):
        """What the disks read as, once QEMU has ended."""
        self.end()
        for path, pattern in zip(DISKS, content):
            read = qemu_io('-c', f'read -P {{pattern}} 0 64k', path).stdout
            self.assertNotIn('verification failed', read, path)

    def check_whole(self):
        """One instant, machine state where it should be, and it loads."""
        found = [self.snapshots(number)[0] for number in range(len(DISKS))]
        clocks = {{(each['vm-clock-sec'], each['vm-clock-nsec']) for each in found}}
        self.assertEqual(len(clocks), 1)
        holders = [number for number, each in enumerate(found)
                   if each['vm-state-size'] > 0]
        self.assertEqual(holders, [VMSTATE] if VMSTATE >= 0 else [])
        if VMSTATE < 0:
            return
        for number in range(len(DISKS)):
            self.vm.hmp_qemu_io(f'drive{{number}}', f'write -P {{LATER}} 0 64k')
        self.send('snapshot-load', {{
            'job-id': 'load', 'tag': TAG, 'vmstate': f'disk{{VMSTATE}}',
            'devices': [f'disk{{number}}' for number in range(len(DISKS))]}},
            job='load')
        self.check_content([SAVED] * len(DISKS))
'''

_FOOT = """

if __name__ == '__main__':
    iotests.main(supported_fmts=['qcow2'], supported_protocols=['file'])
"""


def iotest_text(design: DesignFile, tried: Trying) -> str:
    """The test, as the text of its file."""
    spelled = [each for each in tried.spelled if isinstance(each, Spelled)]
    actions = dict.fromkeys(action for each in spelled for action in each.actions)
    commands = dict.fromkeys(each.execute for each in spelled)
    head = _HEAD.format(
        about=_comment(f"{design.name}: {design.summary}"),
        tag=repr(TRIED_TAG),
        count=len(tried.setting.disks),
        vmstate=tried.setting.vmstate,
        commands=_value(list(commands), "COMMANDS = "),
        actions=_value(list(actions), "ACTIONS = "),
        back=isinstance(tried.setting, BackSetting),
        name=f"Test{_camel(design.name)}",
    )
    tests = [line for run in tried.runs for line in _test(spelled, run)]
    if not tests:
        reasons = "; ".join(dict.fromkeys(each.why for each in tried.left_out))
        tests = ["", "    def test_nothing_strikes(self):", f"        self.skipTest({reasons!r})"]
    return head + "\n".join(tests) + "\n" + _FOOT


def _comment(text: str) -> str:
    return "\n".join(f"# {visible(line)}" for line in wrapped(text, 74))


def _camel(name: str) -> str:
    words = "".join(each if each.isalnum() and each.isascii() else " " for each in name).split()
    return "".join(word[:1].upper() + word[1:] for word in words) or "Design"


def _value(value: object, before: str) -> str:
    """A value as Python writes it, its further lines below its first."""
    lines = pprint.pformat(value, width=78 - len(before), sort_dicts=False).split("\n")
    return ("\n" + " " * len(before)).join(lines)


def _test(spelled: Sequence[Spelled], run: Tried) -> Iterator[str]:
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
    if left.done and not left.saved and left.running is not None:
        yield "        self.check_whole()"


def _deed(spelled: Sequence[Spelled], run: Tried, deed: Deed) -> Iterator[str]:
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
        case "kill":
            yield "        self.end(hard=True)"
        case _:
            pass


def _call(method: str, spelled: Spelled, *, fails: bool = False) -> Iterator[str]:
    begin = f"        self.{method}({spelled.execute!r}, "
    arguments = json.loads(json.dumps(spelled.arguments))
    more = f", job={spelled.job!r}" if spelled.job and method == "send" else ""
    more += ", fails=True" if fails else ""
    short = f"{begin}{arguments!r}{more})"
    if len(short) <= 79:
        yield short
        return
    yield f"        self.{method}("
    yield f"            {spelled.execute!r},"
    yield f"            {_value(arguments, ' ' * 12)}{more})"
