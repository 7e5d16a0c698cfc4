"""VMs that start from a snapshot's template, side by side: each guest goes on, the template stays."""

import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.live.restores import request_of, save_external
from tests.live.runs import SNAPPLAN, as_json, snapplan
from tests.live.templates import Clones, clone_line, make_template, wait
from tests.support.guest import failures, heartbeats
from tests.support.images import check
from tests.support.qemu import qemu_img_binary
from tests.support.topology import DiskKind, two_disks

pytestmark = pytest.mark.real_qemu

KILLING = """#!/bin/sh
# Snapplan dies when it starts the NUMBERth QEMU, which comes up all the same.
echo >> '{count}'
test "$(wc -l < '{count}')" -lt {number} || kill -9 $PPID
exec '{program}' "$@"
"""


def saved(qemu):
    """A VM with two disks, saved, with a template; its QEMU has ended."""
    vm = qemu.start(two_disks(DiskKind.RAW, guest=True))
    vm.wait_guest(1)
    folder = vm.directory
    parts = {"disk0": folder / "o0.qcow2", "disk1": folder / "o1.qcow2"}
    state = {"external": str(folder / "state"), "capture": "stopped"}
    manifest = save_external(vm, request_of("a", parts, state))
    vm.wait_guest(2, since=len(vm.console()))
    later = heartbeats(vm.console())[-1]
    vm.end()
    return vm, manifest, later, make_template(vm, manifest)


def went_on(clones, number, later, beats=3):
    """A clone's guest did not boot: it goes on from the instant, and complains of nothing."""
    wait(lambda: len(heartbeats(clones.console(number))) >= beats, 60)
    text = clones.console(number)
    assert "start" not in text
    assert failures(text) == []
    assert heartbeats(text)[0] < later


def digests(template):
    files = [template.state.file, *(each.file for each in (*template.memory, *template.disks))]
    return {file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files}


def test_clones_run_side_by_side_and_the_template_stays_as_it_was(qemu):
    vm, _, later, template = saved(qemu)
    before = digests(template)
    with Clones(vm) as clones:
        said = clones.load("a", "--clones", "3", "--qmp", vm.directory / "c{clone}")
        assert [each["number"] for each in said["clones"]] == [1, 2, 3]
        assert len({each["uuid"] for each in said["clones"]}) == 3
        for each in said["clones"]:
            went_on(clones, each["number"], later)
        listed = json.loads(
            snapplan("restore", "list", "--store", vm.directory / "store", "--json").stdout
        )
        assert [(each["state"], each["runs"]) for each in listed["restores"]] == [
            ("started", True)
        ] * 3
        with contextlib.closing(clones.qmp(1)) as qmp:
            left = [c for c in qmp.execute("query-migrate-capabilities") if c["state"]]
            assert left == [], "x-ignore-shared would leave the RAM out of a snapshot (fact 64)"
            assert qmp.execute("qom-get", path="/objects/pc.ram", property="share") is False
    assert digests(template) == before
    for each in said["clones"]:
        for disk in each["disks"]:
            assert check(qemu_img_binary(), disk["file"])["corruptions"] == 0


@pytest.mark.long
def test_what_is_no_longer_the_template_is_refused_and_nothing_is_left(qemu):
    """Memory that somebody wrote to, a state with another byte, too long a socket, one that fails."""
    vm, manifest, later, template = saved(qemu)
    (memory,) = template.memory
    names = sorted(path.name for path in vm.directory.iterdir())
    line = ("--run", clone_line(vm, manifest), "--qmp", vm.directory / "c{clone}")
    with Clones(vm) as clones:
        os.utime(memory.file, ns=(1, 1))
        Path(memory.file).chmod(0o600)
        said = clones.load("a", *line)  # the content is as it was: only the time is another
        went_on(clones, said["clones"][0]["number"], later)
        assert "pid" in said
        changed(
            memory.file, 4096 * 40, lambda: clones.load("a", *line, code=10), "template-changed"
        )
        changed(
            template.state.file, 1000, lambda: clones.load("a", *line, code=10), "template-changed"
        )
        long = vm.directory / ("x" * 100 + "{clone}")
        assert clones.load("a", "--clones", "2", "--qmp", long, code=2) == {"socket-too-long"}
        twice = clone_line(vm, manifest).replace(
            "-nodefaults", f"-nodefaults -serial file:{vm.directory}/no/{{clone}}"
        )
        assert "qemu-not-started" in clones.load(
            "a", "--clones", "2", *line[2:], "--run", twice, code=20
        )
        left = {path.name for path in vm.directory.iterdir()} - {*names}
        own = {"console.1", "qmp.1", "c1", "o0.restored-1.qcow2", "o1.restored-1.qcow2"}
        assert left <= own | {"console.2", "console.3", "qmp.2", "qmp.3", "c2", "c3"}, left


def test_a_spare_is_taken_by_the_next_load_of_its_line_and_goes_with_its_template(qemu):
    vm, manifest, later, _ = saved(qemu)
    store = ("--store", vm.directory / "store")
    with Clones(vm) as clones:
        socket = ("--qmp", vm.directory / "c{clone}")
        waiting = clones.load("a", "--spare", "--clones", "2", *socket)
        first, second = (each["pid"] for each in waiting["clones"])
        assert {each["run-state"] for each in waiting["clones"]} == {"inmigrate"}
        assert clones.console(1) == ""
        other = clone_line(vm, manifest).replace("-nodefaults", "-nodefaults -name c{clone}")
        assert clones.load("a", "--run", other, *socket)["pid"] not in {first, second}
        taken = clones.load("a", "--run", clone_line(vm, manifest), *socket)
        assert (taken["pid"], taken["clones"][0]["spare"]) == (first, True)
        went_on(clones, 1, later)
        manifest_of = json.loads(manifest.read_text())
        gone = {**manifest_of, "template": {**manifest_of["template"], "made-ns": 1}}
        manifest.write_text(json.dumps(gone))
        collected = as_json(snapplan("gc", "--yes", *store, "--json"))
        assert [each["subject"] for each in collected["orphans"] if each["removed"]] == [
            "a.restored-2"
        ]
        assert not Path(waiting["clones"][1]["disks"][0]["file"]).exists()
        assert clones.processes[1].poll() is not None
        assert clones.processes[0].poll() is None


@pytest.mark.sample(1)
@pytest.mark.parametrize("number", [1, 2])
def test_killed_while_its_clones_come_up(qemu, tmp_path, number):
    """Their guests have not run: to drop them ends their QEMUs, and nothing is left."""
    vm, manifest, later, _ = saved(qemu)
    store = ("--store", vm.directory / "store")
    before = sorted(path.name for path in vm.directory.iterdir())
    program, words = clone_line(vm, manifest).split(" ", 1)
    killing = tmp_path / "qemu"
    killing.write_text(KILLING.format(count=tmp_path / "count", number=number, program=program))
    killing.chmod(0o700)
    line = ("--run", f"{killing} {words}", "--qmp", vm.directory / "c{clone}")
    done = subprocess.run(
        [SNAPPLAN, "load", "a", "--clones", "2", *line, *store],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9, done
    listed = as_json(snapplan("restore", "list", *store, "--json"))["restores"]
    assert [each["state"] for each in listed] == ["making", "making"]
    for each in listed:
        wait(lambda each=each: dropped(each["name"], store), 60)
    made = {path.name for path in vm.directory.iterdir()} - {*before}
    assert not any(".restored-" in name for name in made), made
    with Clones(vm) as clones:
        clones.load("a", "--clones", "1", *line[2:])
        went_on(clones, 1, later)


def dropped(name, store):
    """A QEMU that nobody could record yet is named, and may be ended by hand: here it ends."""
    done = snapplan("restore", "drop", name, "--yes", *store, "--json")
    if done.returncode:
        for problem in as_json(done)["error"]["problems"]:
            found = re.search(r"process (\d+)", problem["message"])
            if found:
                os.kill(int(found[1]), signal.SIGKILL)
    return done.returncode == 0


def changed(file, at, work, code):
    """One byte is another, and it is refused; then the byte is as before, and the time too."""
    before = Path(file).stat()
    with Path(file).open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte[0] ^ 1]))
    assert work() == {code}
    with Path(file).open("r+b") as opened:
        opened.seek(at)
        opened.write(byte)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
