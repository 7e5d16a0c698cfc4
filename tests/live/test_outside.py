"""A real VM with storage that QEMU's block layer does not serve."""

import json

import pytest

from tests.live.runs import as_json, request_text, snapplan
from tests.support.outside import SHARED_MEMORY, emulated_tpm, vhost_user_disk, vhost_user_network
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu
DISKS = ["disk0", "disk1"]


def problems(done):
    return {(p["code"], p["subject"]) for p in as_json(done)["error"]["problems"]}


def excluding(text, name):
    return text.replace("disks: {", f"disks: {{{name}: exclude, ")


@pytest.fixture
def vhost_user_vm(qemu):
    with vhost_user_disk() as arguments:
        yield qemu.start(two_disks(guest=True, extra_args=(*SHARED_MEMORY, *arguments)))


def test_a_disk_that_another_process_serves(vhost_user_vm, tmp_path):
    """Named by inspect, refused by plan and apply, left out by name; the manifest and load say so."""
    vm, store = vhost_user_vm, ("--store", tmp_path)
    vm.wait_guest()
    seen = as_json(snapplan("inspect", "--vm", vm.qmp_path, "--json"))
    assert [(o["name"], o["uses"]) for o in seen["outside"]] == [("vud0", "chr-vud0")]
    draft = snapplan("inspect", "--vm", vm.qmp_path, "--request").stdout
    assert snapplan("plan", "-", "--vm", vm.qmp_path, text=draft).returncode == 0
    text = request_text("a", DISKS, "disk0")  # and `others: exclude`
    refused = snapplan("plan", "-", "--vm", vm.qmp_path, "--json", text=text)
    assert refused.returncode == 10
    assert ("storage-outside", "vud0") in problems(refused)
    mark = len(vm.events)
    assert snapplan("apply", "-", "--vm", vm.qmp_path, *store, text=text).returncode == 10
    vm.qmp.drain()
    assert "STOP" not in {event["event"] for event in vm.events[mark:]}
    done = snapplan("apply", "-", "--vm", vm.qmp_path, *store, text=excluding(text, "vud0"))
    assert done.returncode == 0, done.stderr
    (manifest,) = manifests(tmp_path)
    assert manifest["outside"] == [["vud0", "vhost-user-blk-pci"]]
    loaded = snapplan("load", "a", "--vm", vm.qmp_path, *store, "--yes")
    assert loaded.returncode == 0, loaded.stderr
    assert "vud0 (vhost-user-blk-pci)" in loaded.stdout
    vm.wait_guest(2, since=len(vm.console()))


def manifests(folder):
    found = [json.loads(path.read_text()) for path in folder.rglob("*.json")]
    return [value for value in found if value.get("format") == "snapplan-manifest"]


def background(text, folder):
    state = f"machine-state: {{external: {folder / 'state'}, capture: background}}"
    return text.replace("machine-state: none", state)


def test_no_background_capture_beside_a_network_that_another_process_serves(qemu, tmp_path):
    """It stores nothing, so other snapshots are taken; it writes to memory unseen."""
    with vhost_user_network() as arguments:
        vm = qemu.start(two_disks(extra_args=(*SHARED_MEMORY, *arguments)))
        at = ("--vm", vm.qmp_path, "--json")
        text = request_text("a", DISKS)
        refused = snapplan("plan", "-", *at, text=background(text, tmp_path))
        assert ("background-unsafe", "hn0") in problems(refused)
        assert snapplan("plan", "-", *at, text=text).returncode == 0


def test_no_background_capture_beside_it(vhost_user_vm, tmp_path):
    """Also where it is excluded."""
    text = background(excluding(request_text("a", DISKS), "vud0"), tmp_path)
    refused = snapplan("plan", "-", "--vm", vhost_user_vm.qmp_path, "--json", text=text)
    assert refused.returncode == 10
    found = {p["subject"] for p in as_json(refused)["error"]["problems"]}
    assert ("background-unsafe", "vud0") in problems(refused), found


def test_an_emulated_tpm_goes_with_the_machine_state(qemu, tmp_path):
    """Saved and loaded with it; disks alone are refused unless it is left out by name."""
    with emulated_tpm() as arguments:
        vm = qemu.start(two_disks(guest=True, extra_args=arguments))
        vm.wait_guest()
        store = ("--store", tmp_path)
        seen = as_json(snapplan("inspect", "--vm", vm.qmp_path, "--json"))
        assert [o["name"] for o in seen["outside"]] == ["tpm0"]
        alone = snapplan("plan", "-", "--vm", vm.qmp_path, "--json", text=request_text("a", DISKS))
        assert ("storage-outside", "tpm0") in problems(alone)
        without = {**dict.fromkeys(DISKS, "internal"), "tpm0": "exclude"}
        asked = json.dumps({"tag": "d", "machine-state": "none", "disks": without})
        done = snapplan("apply", "-", "--vm", vm.qmp_path, *store, text=asked)
        assert done.returncode == 0, done.stderr
        assert "warning: tpm0" in done.stdout, "a snapshot of disks alone lacks the TPM's state"
        text = request_text("a", DISKS, "disk0")
        done = snapplan("apply", "-", "--vm", vm.qmp_path, *store, text=text)
        assert done.returncode == 0, done.stderr
        loaded = snapplan("load", "a", "--vm", vm.qmp_path, *store, "--yes")
        assert loaded.returncode == 0, loaded.stderr
        vm.wait_guest(2, since=len(vm.console()))
