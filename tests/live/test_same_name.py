"""Two VMs of one name or one UUID, and one store: neither's records are the other's."""

import json
import os

import pytest

from planner.store.store import Store
from tests.live.gate import Gate
from tests.live.restores import Adopted, request_of, save_external, template
from tests.live.runs import as_json, held, request_text, snapplan
from tests.live.test_one_qemu import begin
from tests.support import qemu as harness
from tests.support.topology import DiskKind, two_disks

pytestmark = pytest.mark.real_qemu

DISKS = ("disk0", "disk1")
UUID = "11111111-2222-3333-4444-555555555555"


def run(vm, folder, verb, *words, address="", text=""):
    where = ("--vm", address or vm.qmp_path, "--store", folder / "store", "--json")
    return snapplan(verb, *words, *where, text=text)


def apply(vm, folder, tag, **where):
    done = run(vm, folder, "apply", "-", text=request_text(tag, DISKS, "disk0"), **where)
    assert done.returncode == 0, done.stderr
    return as_json(done)


@pytest.mark.long
@pytest.mark.parametrize(
    "same", [("-name", "web"), pytest.param(("-uuid", UUID), marks=pytest.mark.long)]
)
def test_neither_takes_the_others_records(qemu, tmp_path, same):
    """Each has its own manifest of the tag; what is pending of one is nothing to the other."""
    one, two = (qemu.start(two_disks(extra_args=same)) for _ in range(2))
    manifests = [apply(vm, tmp_path, "nightly")["manifest"] for vm in (one, two)]
    assert len(set(manifests)) == 2
    for vm in (one, two):
        assert run(vm, tmp_path, "verify", "nightly").returncode == 0
        assert [each["tag"] for each in as_json(run(vm, tmp_path, "list"))["snapshots"]] == [
            "nightly"
        ]
    with Gate(two, "transaction") as gate:
        running = begin(gate, tmp_path, request_text("b", DISKS, "disk0"), "transactional")
        gate.kill(running, after=True)
    assert as_json(run(one, tmp_path, "recover"))["recovered"] == []
    apply(one, tmp_path, "b")
    assert held(two, DISKS) == {"disk0": ["nightly", "b"], "disk1": ["nightly", "b"]}
    assert run(one, tmp_path, "delete", "nightly", "--yes").returncode == 0
    [done] = as_json(run(two, tmp_path, "recover"))["recovered"]
    assert done["end"] == "undone"
    assert held(one, DISKS) == {"disk0": ["b"], "disk1": ["b"]}
    assert held(two, DISKS) == {"disk0": ["nightly"], "disk1": ["nightly"]}
    assert run(two, tmp_path, "load", "nightly", "--yes").returncode == 0


def test_a_vm_finds_its_records_again(qemu, tmp_path):
    """By its images: without a name, at another socket, after a restart; a store of before too."""
    vm = qemu.start(two_disks(extra_args=("-qmp", "unix:other,server=on,wait=off")))
    apply(vm, tmp_path, "one")
    for claim in (tmp_path / "store").glob("*/vm.json"):
        claim.unlink()  # as a snapplan of before left it
    apply(vm, tmp_path, "two")
    vm.end()
    again = qemu.run(vm, vm.topology)
    apply(again, tmp_path, "three", address=vm.directory / "other")
    listed = as_json(run(again, tmp_path, "list"))["snapshots"]
    assert [each["tag"] for each in listed] == ["one", "three", "two"]
    assert len(Store(tmp_path / "store").vms()) == 1


def test_a_clone_beside_its_original(qemu):
    """It finds the snapshot that it was made of, and what it saves takes nothing of the original's."""
    vm = qemu.start(two_disks(DiskKind.RAW, extra_args=("-name", "web")))
    folder = vm.directory
    parts = {"disk0": folder / "o0.qcow2", "disk1": folder / "o1.qcow2"}
    state = {"external": str(folder / "state"), "capture": "stopped"}
    manifest = save_external(vm, request_of("origin", parts, state))
    store = ("--store", folder / "store", "--json")
    apply_to = request_text("nightly", DISKS, "disk0")
    done = snapplan("apply", "-", "--vm", vm.qmp_path, *store, text=apply_to)
    assert done.returncode == 0, done.stderr
    words = template(vm, manifest)
    for name in ("qmp", "console"):
        words = words.replace(str(folder / name), str(folder / f"clone-{name}"))
    other = folder / "clone-tool"
    done = snapplan("load", manifest, "--run", words, "--qmp", other, *store)
    assert done.returncode == 0, done.stderr
    clone = Adopted.of(json.loads(done.stdout)["pid"])
    try:
        done = snapplan("list", "--vm", other, *store)
        assert [each["tag"] for each in as_json(done)["snapshots"]] == ["origin"]
        done = snapplan("apply", "-", "--vm", other, *store, text=apply_to)
        assert done.returncode == 0, done.stderr
        for address in (vm.qmp_path, other):
            done = snapplan("verify", "nightly", "--vm", address, *store)
            assert done.returncode == 0, done.stderr
            tags = [
                s["tag"] for s in as_json(snapplan("list", "--vm", address, *store))["snapshots"]
            ]
            assert tags == ["nightly", "origin"]
        done = snapplan("delete", "origin", "--vm", other, "--yes", *store)
        assert done.returncode == 2, done.stderr
    finally:
        harness.end_process(clone)
        os.close(clone.handle)
    assert manifest.exists()
