"""A plan written as a script does on a real QEMU what snapplan itself would have done."""

import asyncio
import json
import subprocess
import sys

import pytest

from backends import transcript
from backends.qemu import connect
from planner.compile.plan import compile_request
from planner.model.request_text import read_request
from planner.run.pump import ask_facts
from tests.live.external import account_of, external_request, start_mixed
from tests.support.topology import DiskKind, two_disks

pytestmark = pytest.mark.real_qemu

DESIGNS = ["monolithic", "transactional"]
REQUEST = (
    "tag: by-script\nmachine-state: {internal: disk1}\ndisks: {disk0: internal, disk1: internal}\n"
)


async def program_for(socket, design, request=REQUEST):
    link = await connect(str(socket))
    try:
        facts = await ask_facts(link)
    finally:
        await link.close()
    return compile_request(read_request(request), facts, design).program


def run_script(text, socket, tmp_path):
    script = tmp_path / "save.py"
    script.write_text(text)
    return subprocess.run(
        [sys.executable, "-I", script, socket], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("design", DESIGNS)
def test_the_script_saves_one_snapshot_of_one_instant(design, qemu, tmp_path):
    """The script makes every part at one instant, with automatic node names bound, and resumes."""
    vm = qemu.start(two_disks(DiskKind.DRIVE))
    program = asyncio.run(program_for(vm.qmp_path, design))
    done = run_script(transcript.script(program), vm.qmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    parts = [vm.snapshots(vm.node_of(disk)) for disk in ("disk0", "disk1")]
    assert [[part.tag for part in found] for found in parts] == [["by-script"], ["by-script"]]
    assert parts[0][0].vm_clock_ns == parts[1][0].vm_clock_ns
    assert vm.status() == "running"
    assert vm.execute("query-jobs") == []


@pytest.mark.parametrize("design", DESIGNS)
def test_the_script_stops_at_an_error_and_lets_the_guest_run(design, qemu, tmp_path):
    """Run twice, the second run is refused by QEMU, says so, and leaves the guest running."""
    vm = qemu.start(two_disks(DiskKind.DRIVE))
    program = asyncio.run(program_for(vm.qmp_path, design))
    script = transcript.script(program)
    assert run_script(script, vm.qmp_path, tmp_path).returncode == 0
    again = run_script(script, vm.qmp_path, tmp_path)
    assert again.returncode == 1
    assert "already exists" in again.stderr
    assert vm.status() == "running"


@pytest.mark.parametrize("design", DESIGNS)
def test_every_line_of_a_session_is_one_qmp_command(design, qemu):
    """The session negotiates first, and QEMU knows every command in it."""
    vm = qemu.start(two_disks(DiskKind.DRIVE))
    program = asyncio.run(program_for(vm.qmp_path, design))
    check_session(vm, program)


def check_session(vm, program):
    text = transcript.session(program)
    lines = [json.loads(line) for line in text.splitlines() if not line.startswith("#")]
    known = {command["name"] for command in vm.execute("query-commands")}
    assert lines[0] == {"execute": "qmp_capabilities"}
    assert {line["execute"] for line in lines} <= known
    assert all(set(line) <= {"execute", "arguments"} for line in lines)


CAPTURES = {"transactional": "internal", "external": "stopped", "live": "live"}


@pytest.mark.parametrize(
    "design",
    [*CAPTURES, pytest.param("background", marks=pytest.mark.qemu_versions(since=(10, 0)))],
)
def test_the_script_makes_external_parts_too(design, qemu, tmp_path):
    """Overlay and stream are made by it, settings put back; nothing else is left, the guest goes on."""
    vm = start_mixed(qemu)
    capture = CAPTURES.get(design, "background")
    program = asyncio.run(program_for(vm.qmp_path, design, external_request(vm, capture)))
    check_session(vm, program)
    before = account_of(vm)
    done = run_script(transcript.script(program), vm.qmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    after = account_of(vm)
    wanted = {"a.vars0.qcow2"} | ({"a.state"} if program.resolution.stream else set())
    assert set(after["files"]) - set(before["files"]) == wanted
    assert after["tags"] == {"disk0": ["a"], "disk1": ["a"]}
    assert after["inserted"] != before["inserted"]
    for kept in ("capabilities", "bandwidth", "status", "jobs"):
        assert after[kept] == before[kept]
    for name in wanted:
        made = vm.directory / name
        assert made.stat().st_size > 0
        assert made.stat().st_mode & 0o077 == 0 or name != "a.state"
    vm.wait_guest(since=len(vm.console()))


@pytest.mark.parametrize("design", ["external", "live"])
def test_a_script_that_fails_in_a_stream_lets_the_guest_run(design, qemu, tmp_path):
    """The stream is cancelled, the settings are as before, and what is left is told."""
    vm = start_mixed(qemu)
    request = external_request(vm, CAPTURES[design])
    program = asyncio.run(program_for(vm.qmp_path, design, request))
    vm.execute("blockdev-snapshot-internal-sync", device="disk1", name="a")
    before = account_of(vm)
    done = run_script(transcript.script(program), vm.qmp_path, tmp_path)
    assert (done.returncode, "already exists" in done.stderr) == (1, True), done.stderr
    assert "blockdev-del" in done.stderr
    after = account_of(vm)
    for kept in ("capabilities", "bandwidth", "status", "tags", "inserted", "jobs"):
        assert after[kept] == before[kept]
    vm.wait_guest(since=len(vm.console()))
