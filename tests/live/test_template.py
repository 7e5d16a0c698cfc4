"""Templates: from every kind of snapshot, restored side by side, never written to again."""

import json
import os
from pathlib import Path

import pytest

from planner.parts.manifest_text import read_manifest
from tests.live.made_templates import cloned, made, make
from tests.live.restores import request_of, save_external, store, template
from tests.live.runs import snapplan
from tests.live.templates import Clones, clone_line, wait
from tests.support import qemu as harness
from tests.support.guest import heartbeats
from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks

pytestmark = pytest.mark.real_qemu


def save_and_end(vm, parts, state):
    """Save, let the guest go on, and end QEMU; the manifest, and the counters before and after."""
    before = vm.wait_guest(2)[-1]
    manifest = save_external(vm, request_of("a", parts, state, others="exclude"))
    vm.wait_guest(3, since=len(vm.console()))
    later = heartbeats(vm.console())[-1]
    vm.end()
    return manifest, before, later


def assert_goes_on(vm, before, later):
    """It did not boot: it goes on from an instant between these two counters, without a complaint."""
    counters = vm.wait_guest(4)
    assert "start" not in vm.console()
    assert before < counters[0] < later
    assert vm.status() == "running"


def content(found):
    return {file: Path(file).read_bytes() for file, _ in found.records}


def test_external_state_and_disks_inside_and_outside_of_images(qemu):
    """Two clones at once go on from the instant; the template, the snapshot and its images stay."""
    vm = qemu.start(two_disks(DiskKind.RAW, guest=True))
    folder = vm.directory
    parts = {"disk0": "internal", "disk1": folder / "o1.qcow2"}
    state = {"external": str(folder / "state"), "capture": "stopped"}
    manifest, before, later = save_and_end(vm, parts, state)
    was = {path: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
    found = made(vm, manifest)
    assert {path: path.read_bytes() for path in was} == was
    assert sorted(each.name for each in folder.glob(".*")) == []
    assert [each.id for each in found.memory] == ["pc.ram"]
    assert found.state.record.size_bytes < 4 << 20
    kept = content(found)
    with cloned(vm, manifest, "one") as one, cloned(vm, manifest, "two") as two:
        assert_goes_on(one, before, later)
        assert_goes_on(two, before, later)
        refused = snapplan("template", manifest, "--drop", *store(vm))
        assert refused.returncode == 10
        assert json.loads(refused.stdout)["error"]["code"] == "template-in-use"
    assert content(found) == kept


@pytest.mark.parametrize(
    "capture",
    [
        "stopped",
        pytest.param("live", marks=pytest.mark.long),
        pytest.param("background", marks=pytest.mark.qemu_versions(since=(10, 0))),  # fact 41
    ],
)
def test_each_capture_on_overlays_while_the_vm_runs_on(qemu, capture):
    """The frozen images are the bases; nothing is copied, and the VM that was saved is not touched."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0", DiskKind.RAW),), guest=True))
    before = vm.wait_guest(2)[-1]
    state = {"external": str(vm.directory / "state"), "capture": capture}
    parts = {"disk0": vm.directory / "o0.qcow2"}
    manifest = save_external(vm, request_of("a", parts, state))
    vm.wait_guest(3, since=len(vm.console()))
    later = heartbeats(vm.console())[-1]
    elsewhere = vm.directory / "elsewhere"
    elsewhere.mkdir()
    line = template(vm, manifest).replace(f"{vm.directory}/qmp", f"{elsewhere}/qmp")
    line = line.replace(f"{vm.directory}/console", f"{elsewhere}/console")
    found = made(vm, manifest, "--to", elsewhere, line=line)
    vm.wait_guest(2, since=len(vm.console()))
    assert [disk.file for disk in found.disks] == [str(vm.image("disk0"))]
    assert not found.disks[0].own
    vm.end()
    for number in range(2):
        with cloned(vm, manifest, f"clone{number}", at=elsewhere) as clone:
            assert_goes_on(clone, before, later)


@pytest.mark.long
def test_machine_state_inside_an_image_and_raw_firmware(qemu):
    """The images are copied, the machine state is read from a copy of its image, firmware is a base."""
    firmware = [
        DiskSpec(
            "code0", DiskKind.RAW, 2**18, "pflash", content="/usr/share/seabios/bios-256k.bin"
        ),
        DiskSpec("vars0", DiskKind.RAW, 2**18, "pflash"),
    ]
    disks = (DiskSpec("disk0"), DiskSpec("disk1", DiskKind.DRIVE), *firmware)
    vm = qemu.start(Topology(disks=disks, guest=True))
    parts = {"disk0": "internal", "disk1": "internal", "vars0": vm.directory / "v0.qcow2"}
    manifest, before, later = save_and_end(vm, parts, {"internal": "disk0"})
    was = {path: path.read_bytes() for path in vm.directory.glob("*.*") if path.is_file()}
    found = made(vm, manifest)
    assert {path: path.read_bytes() for path in was} == was
    own = {disk.disk: disk.own for disk in found.disks}
    assert own == {"disk0": True, "disk1": True, "vars0": False}
    modes = {Path(file).stat().st_mode & 0o777 for file in found.own_files[:2]}
    assert modes == {0o600}
    assert sorted(path.name for path in vm.directory.glob(".*")) == []
    with cloned(vm, manifest) as clone:
        assert_goes_on(clone, before, later)
    done = snapplan("delete", manifest, "--offline", "--overlays", "keep", "--yes", *store(vm))
    assert done.returncode == 0, done.stdout
    assert not list(vm.directory.glob("*.template-*"))
    assert vm.image_tags("disk0") == vm.image_tags("disk1") == []


@pytest.mark.parametrize(
    "objects",
    [
        ("memory-backend-memfd,id=mem,size=64M,share=on", "-machine", "memory-backend=mem"),
        pytest.param(
            (
                *("memory-backend-ram,id=m0,size=32M", "-numa", "node,memdev=m0"),
                *("-object", "memory-backend-ram,id=m1,size=32M", "-numa", "node,memdev=m1"),
            ),
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_machine_with_memory_objects_of_its_own(qemu, objects):
    """Each gets a file of its own, by the id that the machine state knows it by."""
    words = ("-object", *objects)
    vm = qemu.start(
        Topology(disks=(DiskSpec("disk0"),), guest=True, memory_mib=64, extra_args=words)
    )
    manifest, before, later = save_and_end(vm, {"disk0": "internal"}, {"internal": "disk0"})
    found = made(vm, manifest)
    assert len(found.memory) == sum("size=" in word for word in words)
    with cloned(vm, manifest) as clone:
        assert_goes_on(clone, before, later)


def save_plain(qemu, **more):
    """A VM with one disk that was saved and has ended: the VM and the manifest."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"),), guest=True, **more))
    manifest, _, _ = save_and_end(vm, {"disk0": "internal"}, {"internal": "disk0"})
    return vm, manifest


def codes_of(done):
    error = json.loads(done.stdout)["error"]
    return error["code"], {problem["code"] for problem in error["problems"]}


def test_what_is_in_its_way_is_said_before_anything_is_made(qemu):
    """A line without the socket, one that lacks the memory's size, a template that is there."""
    vm, manifest = save_plain(qemu)
    text = manifest.read_text()
    line = template(vm, manifest)
    done = make(vm, manifest, line=line.replace("{qmp}", "/x"))
    assert (done.returncode, codes_of(done)[0]) == (2, "template-incomplete")
    other = f"{line} -object memory-backend-ram,id=other,size=1M"
    done = make(vm, manifest, line=other)
    assert (done.returncode, codes_of(done)) == (10, ("template-refused", {"template-memory"}))
    assert manifest.read_text() == text
    there = sorted(vm.directory.iterdir())
    made(vm, manifest)
    done = make(vm, manifest)
    assert (done.returncode, codes_of(done)[0]) == (10, "template-exists")
    first = read_manifest(manifest.read_text()).template
    again = made(vm, manifest, "--replace")
    assert not any(Path(file).exists() for file in first.own_files)
    assert all(Path(file).exists() for file in again.own_files)
    done = snapplan("template", manifest, "--drop", *store(vm))
    assert (done.returncode, json.loads(done.stdout)["template"]) == (0, None)
    assert manifest.read_text() == text
    assert sorted(vm.directory.iterdir()) == there


def test_a_qemu_that_is_another_vm_makes_no_template(qemu):
    """Another machine type: it is ended, and nothing is left, in the store neither."""
    vm, manifest = save_plain(qemu)
    text, there = manifest.read_text(), sorted(vm.directory.rglob("*"))
    done = make(vm, manifest, line=template(vm, manifest).replace("pc,accel", "q35,accel"))
    assert (done.returncode, "machine-differs" in codes_of(done)[1]) == (20, True), done.stdout
    assert manifest.read_text() == text
    assert sorted(path for path in vm.directory.rglob("*") if path.name != "makings") == there


@pytest.mark.long
def test_a_byte_that_changed_is_found(qemu):
    """In the memory, the devices' state and a copied disk: by its time, else by its content."""
    vm, manifest = save_plain(qemu)
    found = made(vm, manifest)
    for file in found.own_files:
        path = Path(file)
        was = path.stat()
        path.chmod(0o600)
        with path.open("r+b") as changed:
            changed.seek(found.state.record.size_bytes // 2)
            byte = changed.read(1)
            changed.seek(-1, 1)
            changed.write(bytes([byte[0] ^ 1]))
        assert verified(vm, manifest) == {"template-differs"}
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        assert verified(vm, manifest, "--deep") == {"template-differs"}
        with path.open("r+b") as changed:
            changed.seek(found.state.record.size_bytes // 2)
            changed.write(byte)
        assert verified(vm, manifest) == set()
    Path(found.state.file).unlink()
    assert verified(vm, manifest) == {"file-missing"}


def verified(vm, manifest, *more):
    done = snapplan("verify", manifest, "--offline", *store(vm), *more)
    return {finding["code"] for finding in json.loads(done.stdout)["findings"]}


def test_a_template_that_clones_run_on_is_not_taken_away(qemu):
    """Nor by a delete of its snapshot, and not while the overlay of a clone lies on a copied disk."""
    vm, manifest = save_plain(qemu)
    found = made(vm, manifest, line=clone_line(vm, manifest))
    with Clones(vm) as clones:
        clones.load("a", "--clones", "2", "--qmp", vm.directory / "c{clone}")
        for number in (1, 2):
            wait(lambda n=number: len(heartbeats(clones.console(n))) > 2, 60)
        drop = ("template", manifest, "--drop", *store(vm))
        done = snapplan(*drop)
        assert (done.returncode, codes_of(done)) == (10, ("template-in-use", {"template-in-use"}))
        for process in clones.processes:
            harness.end_process(process)
        done = snapplan("delete", manifest, "--offline", "--yes", *store(vm))
        assert (done.returncode, codes_of(done)) == (10, ("template-in-use", {"template-in-use"}))
    assert all(Path(file).exists() for file in found.own_files)
    assert verified(vm, manifest, "--deep") == set()
    for number in (1, 2):
        done = snapplan("restore", "drop", f"a.restored-{number}", "--yes", *store(vm))
        assert done.returncode == 0, done.stdout
    assert snapplan(*drop).returncode == 0
    assert not any(Path(file).exists() for file in found.own_files)
