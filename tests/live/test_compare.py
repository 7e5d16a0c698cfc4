"""compare --measure on a real QEMU: figures come out, and nothing of it stays."""

import asyncio
import json
import subprocess
import sys

import pytest

from backends.qemu import connect
from planner.compare.measuring import Measuring, compare_tag
from planner.errors import Refused, RunFailed
from planner.model.request_text import read_request
from planner.run.ports import CommandRefused
from planner.run.pump import ask_facts
from tests.live.external import account_of, external_request, start_mixed
from tests.support.topology import DiskKind, two_disks

pytestmark = pytest.mark.real_qemu

DESIGNS = ("monolithic", "transactional")
REQUEST = "tag: t\nmachine-state: {internal: disk0}\ndisks: {disk0: internal, disk1: internal}\n"


def holds_nothing(vm):
    return all(vm.tags(vm.node_of(disk.name)) == [] for disk in vm.topology.disks)


def snapplan(*arguments):
    code = "import sys; from planner.cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.sample(1)
@pytest.mark.parametrize("kind", [DiskKind.QCOW2, DiskKind.DRIVE])
def test_each_design_is_measured_and_nothing_is_left(kind, qemu, tmp_path):
    """Pause, round trip, bytes and total are there for both; disks and guest are as before."""
    vm = qemu.start(two_disks(kind, guest=True))
    vm.wait_guest()
    request = tmp_path / "request.yaml"
    request.write_text(REQUEST)
    names = ",".join(DESIGNS)
    done = snapplan(
        "compare",
        request,
        "--vm",
        vm.qmp_path,
        "--measure",
        "--json",
        "--designs",
        names,
        "--repeat",
        "2",
        "--seed",
        "5",
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {each["likeness"] for each in said["contrasts"]} == {"too-few-runs"}
    assert said["seed"] == 5
    for design in said["designs"]:
        pauses = sorted(each["pause-us"] for each in design["runs"])
        assert len(pauses) == 2
        assert pauses[0] <= design["spread"]["pause-us"]["median"] <= pauses[1]
        assert design["measured"]["pause-us"] == pauses[0]
    for design in json.loads(done.stdout)["designs"]:
        measured = design["measured"]
        assert 0 < measured["pause-us"] <= measured["total-us"]
        assert int(measured["vm-state-bytes"]) > 0
        sent = [command for together in design["round-trips"] for command in together]
        assert [span["command"] for span in measured["spans"]] == sent
    assert holds_nothing(vm)
    assert vm.status() == "running"
    assert vm.execute("query-jobs") == []
    vm.wait_guest(since=len(vm.console()))


@pytest.mark.long
def test_all_designs_are_measured_beside_a_raw_disk_and_nothing_is_left(qemu, tmp_path):
    """Overlays are merged, streams removed, settings put back; the guest goes on in between."""
    vm = start_mixed(qemu)
    request = tmp_path / "request.yaml"
    request.write_text(external_request(vm, "live"))
    streams = tmp_path / "streams"
    streams.mkdir()
    before = account_of(vm)
    options = ("--vm", vm.qmp_path, "--measure", "--json", "--streams-to", streams)
    done = snapplan("compare", request, *options)
    assert done.returncode == 0, done.stderr
    found = {design["design"]: design for design in json.loads(done.stdout)["designs"]}
    can = ["transactional", "external", "live", "background", "vmstate-node"]
    if not found["background"]["possible"]:
        assert found["background"]["problems"][0]["code"] == "background-unsafe"
        can.remove("background")
    assert [name for name, design in found.items() if design.get("measured")] == can
    for name in can:
        measured = found[name]["measured"]
        assert 0 < measured["pause-us"] <= measured["total-us"]
        assert int(measured["vm-state-bytes"]) > 0
    assert account_of(vm) == before
    assert list(streams.iterdir()) == []
    vm.wait_guest(since=len(vm.console()))


@pytest.mark.long
def test_copies_are_measured_beside_a_snapshot_in_the_image(qemu, tmp_path):
    """A design that makes no copies has a snapshot there, which is said; of the copy nothing is left."""
    vm = qemu.start(two_disks(guest=True))
    vm.wait_guest()
    request, copy = tmp_path / "request.yaml", vm.directory / "copy.qcow2"
    request.write_text(REQUEST.replace("disk1: internal", f"disk1: {{copy: {copy}}}"))
    before = sorted(vm.directory.iterdir()), sorted(vm.nodes())
    names = "monolithic,transactional,vmstate-node"
    options = ("--vm", vm.qmp_path, "--measure", "--json", "--designs", names)
    done = snapplan("compare", request, *options)
    assert done.returncode == 0, done.stderr
    found = {design["design"]: design for design in json.loads(done.stdout)["designs"]}
    note = f"disk1 is internal, instead of a copy in {copy}"
    assert [name for name, design in found.items() if note in design["adapted"]] == ["monolithic"]
    size = vm.topology.disk("disk1").size_bytes
    for name, design in found.items():
        measured = design["measured"]
        assert 0 < measured["pause-us"] <= measured["total-us"]
        assert (int(measured["files-grown-bytes"]) > size) == (name != "monolithic"), name
    assert (sorted(vm.directory.iterdir()), sorted(vm.nodes())) == before
    assert holds_nothing(vm)
    assert vm.execute("query-jobs") == []
    vm.wait_guest(since=len(vm.console()))


@pytest.mark.long
def test_a_file_in_the_way_is_refused_and_stays(qemu, tmp_path):
    """A stream's made-up name that somebody has taken stops the measurement before it begins."""
    vm = start_mixed(qemu)
    request = tmp_path / "request.yaml"
    request.write_text(external_request(vm, "stopped"))
    (tmp_path / "snapplan-compare-external.state").write_text("somebody's")
    before = account_of(vm)
    options = ("--designs", "external", "--measure", "--streams-to", tmp_path)
    done = snapplan("compare", request, "--vm", vm.qmp_path, *options)
    assert done.returncode == 10
    assert "file-exists" in done.stderr
    assert (tmp_path / "snapplan-compare-external.state").read_text() == "somebody's"
    assert account_of(vm) == before


def test_a_paused_vm_stays_paused(qemu, tmp_path):
    """What the request would change of the run state is brought back."""
    vm = qemu.start(two_disks())
    vm.execute("stop")
    request = tmp_path / "request.yaml"
    request.write_text(REQUEST + "run-state-after: running\n")
    options = ("--designs", "transactional", "--measure", "--format", "svg")
    done = snapplan("compare", request, "--vm", vm.qmp_path, *options)
    assert done.returncode == 0, done.stderr
    assert "milliseconds, measured" in done.stdout
    assert (vm.status(), holds_nothing(vm)) == ("paused", True)


def test_without_measure_a_vm_is_only_asked(qemu, tmp_path):
    """The prediction knows the memory; no job, no snapshot, no pause."""
    vm = qemu.start(two_disks())
    request = tmp_path / "request.yaml"
    request.write_text(REQUEST)
    mark = vm.qmp.mark()
    done = snapplan("compare", request, "--vm", vm.qmp_path, "--json")
    found = [design for design in json.loads(done.stdout)["designs"] if design["possible"]]
    assert len(found) >= 4
    assert all(design["predicted-pause"]["machine-state-ms"] > 0 for design in found)
    vm.qmp.drain()
    assert vm.qmp.events[mark:] == []


async def measured(vm, spoil=None, designs=DESIGNS):
    link = await connect(str(vm.qmp_path))
    try:
        facts = await ask_facts(link)
        backend = link if spoil is None else spoil(link)
        return await Measuring(backend, read_request(REQUEST), link.images).measure(facts, designs)
    finally:
        await link.close()


def test_a_tag_of_somebody_stops_it_before_anything_is_made(qemu):
    """The temporary tag on any disk is a refusal, and that snapshot stays."""
    vm = qemu.start(two_disks())
    tag = compare_tag("transactional")
    vm.execute("blockdev-snapshot-internal-sync", device="disk1", name=tag)
    with pytest.raises(Refused) as caught:
        asyncio.run(measured(vm))
    assert caught.value.problems[0].code == "tag-taken"
    assert (vm.tags("disk0"), vm.tags("disk1")) == ([], [tag])


class _Refusing:
    """A backend on which one command is refused, as a failing QEMU would."""

    def __init__(self, inner, command):
        self._inner, self._command = inner, command

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def execute(self, command, arguments, timeout_s):
        if command == self._command:
            raise CommandRefused("GenericError", "made to fail")
        return await self._inner.execute(command, arguments, timeout_s)


def test_after_a_failed_run_nothing_is_left_either(qemu):
    """The run undoes itself, the guest runs, and the failure is told."""
    vm = qemu.start(two_disks())
    with pytest.raises(RunFailed):
        asyncio.run(measured(vm, lambda link: _Refusing(link, "transaction"), ("transactional",)))
    assert (vm.status(), holds_nothing(vm)) == ("running", True)


def test_what_cannot_be_deleted_is_told(qemu):
    """A deletion that QEMU refuses leaves a part, which the error names with its id."""
    vm = qemu.start(two_disks())
    command = "blockdev-snapshot-delete-internal-sync"
    with pytest.raises(RunFailed) as caught:
        asyncio.run(measured(vm, lambda link: _Refusing(link, command), ("monolithic",)))
    assert {problem.code for problem in caught.value.problems} == {"part-left"}
    assert vm.tags("disk0") == [compare_tag("monolithic")]
