"""Saving on a real QEMU: names of every kind, disks only, a VM that changed, and who is connected."""

import json
import socket
import threading

import pytest

from tests.live.faults import DESIGNS, assert_images, assert_loads, request, start, through_library
from tests.live.runs import as_json, held, request_text, snapplan
from tests.support.guest import last_counter
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks

pytestmark = pytest.mark.real_qemu

BOTH = {"disk0": ["a"], "disk1": ["a"]}


@pytest.mark.parametrize("design", DESIGNS)
def test_disks_named_by_their_devices(qemu, design):
    """qdev ids, which QEMU itself refuses, are as good as node names (fact 11)."""
    vm = start(qemu)
    text = request_text("a", ["disk0-device", "disk1-device"], "disk1-device")
    account = through_library(vm, text, design)
    assert account.exit_code == 0, account
    assert [part["disk"] for part in account.said["parts"] if part["vm-state-size"] != "0"] == [
        "disk1"
    ]
    assert held(vm, BOTH) == BOTH
    assert_loads(vm, account)
    assert_images(vm, BOTH)


@pytest.mark.parametrize("design", DESIGNS)
def test_disk_named_by_its_filter(qemu, design):
    """Named by the throttle node, its image is snapshotted, once."""
    vm = start(qemu, two_disks(DiskKind.FILTERED, guest=True))
    account = through_library(vm, request(), design)
    assert account.exit_code == 0, account
    assert held(vm, BOTH) == BOTH
    assert_loads(vm, account)
    assert_images(vm, BOTH)


def test_disks_alone_are_reverted_offline(qemu):
    """There is no other way back (fact 21): `qemu-img snapshot -a`, and both disks are one cut."""
    vm = start(qemu, two_disks(DiskKind.DRIVE, guest=True))
    account = through_library(vm, request_text("a", ["disk0", "disk1"]))
    assert account.exit_code == 0, account
    assert [part["vm-state-size"] for part in account.said["parts"]] == ["0", "0"]
    vm.wait_guest(2, since=len(vm.console()))
    assert_images(vm, BOTH)
    counters = []
    for disk in BOTH:
        kept = vm.counter_in_image(disk, "a")
        assert active_counter(vm, disk) > kept, "the guest went on after the snapshot"
        vm.revert_image(disk, "a")
        assert active_counter(vm, disk) == kept
        counters.append(kept)
    assert counters[0] - counters[1] in (0, 1), "the guest writes disk0 first"
    assert_images(vm, BOTH)


def active_counter(vm, disk):
    """The counter that the guest wrote last, in the active layer of an image."""
    raw = vm.directory / f"{disk}.now"
    qemu_img(qemu_img_binary(), "convert", "-O", "raw", vm.image(disk), raw)
    return last_counter(raw.read_bytes())


def test_hot_plugged_disk_makes_an_old_plan_unfit(qemu, tmp_path):
    """The guest has one disk more than the plan knows: exit 11, and nothing is done."""
    vm = start(qemu, Topology((DiskSpec("disk0"), DiskSpec("disk1")), guest=True))
    plan = tmp_path / "plan.json"
    made = snapplan("plan", "-", "--vm", vm.qmp_path, "-o", plan, text=request())
    assert made.returncode == 0, made.stderr
    vm.add_node("late")
    vm.execute("device_add", driver="virtio-blk-pci", drive="late", id="late-device")
    mark = len(vm.events)
    refused = snapplan("apply", plan, "--vm", vm.qmp_path, "--json")
    assert refused.returncode == 11, refused.stderr
    problems = as_json(refused)["error"]["problems"]
    assert ("vm-changed", "disk late") in {(p["code"], p["subject"]) for p in problems}
    vm.qmp.drain()
    assert {event["event"] for event in vm.events[mark:]} & {"STOP", "JOB_STATUS_CHANGE"} == set()
    assert held(vm, BOTH) == {"disk0": [], "disk1": []}


def test_second_client_on_a_socket_is_told_why(qemu):
    """QEMU serves one client a socket and says nothing to the next: exit 12, `socket-busy`."""
    vm = qemu.start(two_disks())
    refused = snapplan("list", "--vm", vm.directory / "qmp", "--json")
    assert refused.returncode == 12
    error = as_json(refused)["error"]
    assert error["code"] == "socket-busy"
    remedy = error["problems"][0]["remedy"]
    assert "one of its own" in remedy
    assert "--backend" in remedy


@pytest.mark.parametrize(
    "greeting",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b'{"hello": "world"}\n', b""],
    ids=["text", "json", "nothing, and it hangs up"],
)
def test_peer_that_is_no_qemu(tmp_path, greeting):
    """Something else listens: exit 12, `not-qmp`, without a traceback."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            client, _ = listening.accept()
            with client:
                client.sendall(greeting)
                client.shutdown(socket.SHUT_WR)
                client.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        refused = snapplan("list", "--vm", path, "--json")
        thread.join()
    assert (refused.returncode, as_json(refused)["error"]["code"]) == (12, "not-qmp")
    assert "Traceback" not in refused.stderr


def test_a_socket_that_nobody_serves(tmp_path):
    """Its QEMU has ended: exit 12, `nobody-listens`."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
    refused = snapplan("list", "--vm", path, "--json")
    assert (refused.returncode, json.loads(refused.stdout)["error"]["code"]) == (
        12,
        "nobody-listens",
    )
