"""Storage outside of the block layer is found wherever it is plugged in."""

import contextlib
import json

import pytest

from tests.live.runs import as_json, request_text, snapplan
from tests.support.outside import SHARED_MEMORY, VIRTIOFSD, folder, virtiofsd
from tests.support.storage_daemon import storage_daemon
from tests.support.topology import two_disks

pytestmark = [pytest.mark.real_qemu, pytest.mark.long]

BRIDGE = "/machine/peripheral-anon/device[{}]".format


@pytest.fixture
def vm_and_daemon(qemu):
    """One below a bridge without an id, one of another process, shared memory, and two hot-plugged."""
    with contextlib.ExitStack() as stack:
        where = stack.enter_context(folder())
        daemon = stack.enter_context(storage_daemon(where, vhost=("disk0", "disk1")))
        erst = f"memory-backend-file,id=erst,size=64K,mem-path={where / 'erst'},share=on"
        arguments = [
            *SHARED_MEMORY,
            *("-device", "pci-bridge,chassis_nr=1,id=br"),
            *("-chardev", f"socket,id=below,path={daemon.vhost_path('disk0')}"),
            *("-device", "vhost-user-blk-pci,chardev=below,bus=br,addr=2"),
            *("-object", erst, "-device", "acpi-erst,memdev=erst,bus=br,addr=3"),
            *("-fsdev", f"local,id=fs0,path={where},security_model=none"),
        ]
        found = {BRIDGE(0): "vhost-user-blk-pci", BRIDGE(1): "acpi-erst"}
        if VIRTIOFSD.exists():
            at = stack.enter_context(virtiofsd(where))
            arguments += ["-chardev", f"socket,id=fs,path={at}"]
            arguments += ["-device", "vhost-user-fs-pci,chardev=fs,tag=t,id=share"]
            found["share"] = "vhost-user-fs-pci"
        vm = qemu.start(two_disks(guest=True, extra_args=tuple(arguments)))
        vm.wait_guest()
        address = {"type": "unix", "data": {"path": str(daemon.vhost_path("disk1"))}}
        backend = {"type": "socket", "data": {"addr": address, "server": False}}
        vm.execute("chardev-add", id="hot", backend=backend)
        vm.execute("device_add", driver="vhost-user-blk-pci", chardev="hot", id="later")
        vm.execute("device_add", {"driver": "virtio-9p-pci", "fsdev": "fs0", "mount_tag": "h"})
        yield vm, daemon, found | {"later": "vhost-user-blk-pci", BRIDGE(2): "virtio-9p-pci"}


def test_every_place_where_a_device_may_be(vm_and_daemon, tmp_path):
    """All are told, with where they lead, and refused by name; with all left out it is saved."""
    vm, daemon, wanted = vm_and_daemon
    at = ("--vm", vm.qmp_path, "--store", tmp_path)
    seen = {
        o["name"]: o for o in as_json(snapplan("inspect", "--vm", vm.qmp_path, "--json"))["outside"]
    }
    assert {name: each["type"] for name, each in seen.items()} == wanted
    assert seen["later"]["peer"] == f"unix:{daemon.vhost_path('disk1')}"
    assert seen[BRIDGE(0)]["peer"] == f"unix:{daemon.vhost_path('disk0')}"
    text = request_text("a", ["disk0", "disk1"], "disk0")

    def problems(*left_out):
        names = "".join(f"{json.dumps(name)}: exclude, " for name in left_out)
        asked = text.replace("disks: {", f"disks: {{{names}")
        done = snapplan("apply", "-", *at, "--json", text=asked)
        if done.returncode == 0:
            return None
        assert done.returncode == 10, done.stderr
        return {(p["code"], p["subject"]) for p in as_json(done)["error"]["problems"]}

    blocked = {("migration-blocked", "vm")} if "share" in wanted and vm.version < (8, 0) else set()
    assert problems() == {("storage-outside", name) for name in wanted} | blocked
    for name in (BRIDGE(2), "later"):
        assert problems(*(wanted.keys() - {name})) == {("storage-outside", name)} | blocked
    if blocked:
        assert problems(*wanted) == blocked
        return
    if "share" in wanted:  # this virtiofsd cannot give QEMU its state (fact 137): undone
        names = "".join(f"{json.dumps(name)}: exclude, " for name in wanted)
        asked = text.replace("disks: {", f"disks: {{{names}")
        done = snapplan("apply", "-", *at, text=asked)
        assert done.returncode == 20, done.stderr
        assert "[job-failed]" in done.stderr
        assert vm.tags("disk0") == []
        vm.wait_guest(since=len(vm.console()))
        return
    assert problems(*wanted) is None
    assert vm.tags("disk0") == ["a"]
