"""What every test that is made of a design has: what it does to QEMU and images, and its foot.

`planner.present.proposal_iotest` fills it in.  Braces stand twice in the head, which is formatted.
"""

from __future__ import annotations

__all__ = ["COPYING", "FOOT", "HEAD"]

HEAD = '''#!/usr/bin/env python3
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
INTERNAL = {internal}   # the disks whose part is in their image
COPIES = {{number: os.path.join(iotests.test_dir, f'copy{{number}}.img')
          for number in {copied}}}
PARTS = {{number: path + '.part' for number, path in COPIES.items()}}
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
        rules = [path + '.blkdebug' for path in DISKS]
        for each in (*DISKS, *rules, *COPIES.values(), *PARTS.values()):
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
            if pattern is None:
                continue
            read = qemu_io('-c', f'read -P {{pattern}} 0 64k', path).stdout
            self.assertNotIn('verification failed', read, path)

    def check_whole(self):
        """One instant, machine state where it should be, and it loads."""
        for path in COPIES.values():
            read = qemu_io('-c', f'read -P {{SAVED}} 0 64k', path).stdout
            self.assertNotIn('verification failed', read, path)
        if not INTERNAL:
            return
        found = [self.snapshots(number)[0] for number in INTERNAL]
        clocks = {{(each['vm-clock-sec'], each['vm-clock-nsec']) for each in found}}
        self.assertEqual(len(clocks), 1)
        holders = [number for number, each in zip(INTERNAL, found)
                   if each['vm-state-size'] > 0]
        self.assertEqual(holders, [VMSTATE] if VMSTATE >= 0 else [])
        if VMSTATE < 0:
            return
        for number in INTERNAL:
            self.vm.hmp_qemu_io(f'drive{{number}}', f'write -P {{LATER}} 0 64k')
        self.send('snapshot-load', {{
            'job-id': 'load', 'tag': TAG, 'vmstate': f'disk{{VMSTATE}}',
            'devices': [f'disk{{number}}' for number in INTERNAL]}},
            job='load')
        self.check_content([SAVED if number in INTERNAL else None
                            for number in range(len(DISKS))])
'''

COPYING = """
    def create_copy(self, number):
        qemu_img('create', '-f', iotests.imgfmt, PARTS[number], '16M')

    def keep_copy(self, number):
        os.rename(PARTS[number], COPIES[number])

    def end_copy(self, number):
        self.assertIsNone(self.error_of_job(f'copy{number}'))

    def cancel_copy(self, number):
        \"\"\"The client ends a job, which may have ended by itself.\"\"\"
        self.vm.qmp('job-cancel', id=f'copy{number}')
        self.error_of_job(f'copy{number}')

    def remove_copy(self, number):
        for path in (PARTS[number], COPIES[number]):
            if os.path.exists(path):
                os.remove(path)

    def check_copies(self, *left):
        \"\"\"Of each copy: its number, whether its node and its file are there.\"\"\"
        nodes = []
        if self.alive:
            nodes = [each.get('node-name')
                     for each in self.ask('query-named-block-nodes')]
        for number, node, file in left:
            self.assertEqual(f'copy{number}' in nodes, node)
            found = [path for path in (PARTS[number], COPIES[number])
                     if os.path.exists(path)]
            self.assertEqual(len(found), int(file))
"""

FOOT = """

if __name__ == '__main__':
    iotests.main(supported_fmts=['qcow2'], supported_protocols=['file'])
"""
