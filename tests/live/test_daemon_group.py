"""A VM one of whose disks a storage daemon serves: saved at one instant, and back at it together."""

import contextlib
import subprocess

import pytest

from tests.live.gate import Gate
from tests.live.runs import SNAPPLAN, as_json, snapplan
from tests.support.guest import boot_sector
from tests.support.images import create
from tests.support.outside import SHARED_MEMORY, folder
from tests.support.qemu import image_path, qemu_img_binary, run_qemu
from tests.support.storage_daemon import run_daemon, storage_daemon
from tests.support.topology import DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

SERVED, REMOTE = "vud0", "remote"
"""The disk that the daemon serves: by vhost-user-blk its device, by NBD its node."""


def topology_of(daemon, by=SERVED):
    """A guest that checks its own disk, and the one that the daemon serves."""
    device = f"vhost-user-blk-pci,chardev=served,id={SERVED},bootindex=1"
    chardev = f"socket,id=served,path={daemon.vhost_path('disk0')}"
    extra = (*SHARED_MEMORY, "-chardev", chardev, "-device", device)
    if by == REMOTE:
        node = f"driver=nbd,node-name={REMOTE},server.type=unix,server.path={daemon.nbd_path}"
        extra = ("-blockdev", f"{node},export=disk0")
        extra += ("-device", f"virtio-blk-pci,drive={REMOTE},bootindex=1")
    return Topology((DiskSpec("disk0"),), extra_args=extra)


def vhost(by):
    return ("disk0",) if by == SERVED else ()


@contextlib.contextmanager
def pair(by=SERVED):
    """A daemon and a VM; what either leaves is there when the other one has ended."""
    with folder() as at_daemon, folder() as at_vm, contextlib.ExitStack() as stack:
        daemon = stack.enter_context(storage_daemon(at_daemon, vhost=vhost(by)))
        topology = topology_of(daemon, by)
        disk = topology.disks[0]
        own = image_path(at_vm, disk)
        create(qemu_img_binary(), own, "qcow2", disk.size_bytes, boot_sector([0, 1]))
        yield daemon, stack.enter_context(run_qemu(topology, at_vm))


def group_file(
    where, vm, daemon, served="{served-by: store}", *, state="{internal: disk0}", by=SERVED
):
    disks = f"{{disk0: internal, {by}: {served}}}"
    (where / "vm.yaml").write_text(f"tag: a\nmachine-state: {state}\ndisks: {disks}\n")
    overlay = daemon.directory / "data.a.qcow2"
    disks = f"{{disk0: internal, disk1: internal, data: {{external: {overlay}}}}}"
    (where / "store.yaml").write_text(f"tag: a-store\nmachine-state: none\ndisks: {disks}\n")
    path = where / "group.yaml"
    path.write_text(
        "group: together\nmembers:\n"
        f"  guest: {{vm: {vm}, request: vm.yaml}}\n"
        f"  store: {{vm: {daemon.qmp_path}, request: store.yaml}}\n"
    )
    return path


@pytest.mark.parametrize("by", [SERVED, pytest.param(REMOTE, marks=pytest.mark.long)])
def test_a_vm_and_its_daemon_go_back_together(tmp_path, by):
    """In a fresh QEMU beside a fresh daemon the guest finds memory and both disks of one instant."""
    store = ("--store", tmp_path / "store")
    with pair(by) as (daemon, vm):
        vm.wait_guest()
        file = group_file(tmp_path, vm.qmp_path, daemon, by=by)
        planned = snapplan("group", "plan", file, *store)
        assert "until every guest that is stopped stands" in planned.stdout, planned.stderr
        saved = snapplan("group", "apply", file, *store, "--json")
        assert saved.returncode == 0, saved.stderr
        assert daemon.tags()["disk0"] == ["a-store"]
        assert vm.tags("disk0") == ["a"]
        vm.wait_guest(3, since=len(vm.console()))  # it writes on, and both disks are of later
        together = snapplan("group", "load", "together", "--yes", "--json", *store)
        assert ("disk-only", "store: a-store") in problems(together)
        vm.wait_guest(since=len(vm.console()))
        vm.end()
        daemon.end()
        back = snapplan("load", "a-store", "--offline", "--alone", "--yes", *store)
        assert back.returncode == 0, back.stderr
        with (
            run_daemon(daemon.directory, vhost(by)),
            run_qemu(vm.topology, vm.directory, ("-S",)) as again,
        ):
            words = ("--alone", "--yes", "--run-state-after", "running")
            words += ("--accept-changed", REMOTE) if by == REMOTE else ()
            loaded = snapplan("load", "a", "--vm", again.qmp_path, *words, *store)
            assert loaded.returncode == 0, loaded.stderr
            assert "Not in this snapshot" not in loaded.stdout
            said = "In the snapshot of member 'store', not in this one: vud0 (vhost-user-blk-pci)."
            assert (said in loaded.stdout) is (by == SERVED)
            again.wait_guest(3)


def test_what_no_member_serves_is_refused(tmp_path):
    """No such member; a single snapshot; and no background capture beside it, whoever serves it."""
    store = ("--store", tmp_path / "store", "--json")
    with pair() as (daemon, vm):
        file = group_file(tmp_path, vm.qmp_path, daemon, "{served-by: nobody}")
        refused = snapplan("group", "apply", file, *store)
        assert problems(refused) == {("served-by-nobody", f"guest: {SERVED}")}
        alone = snapplan("apply", tmp_path / "vm.yaml", "--vm", vm.qmp_path, *store)
        assert problems(alone) == {("served-by-nobody", SERVED)}
        state = f"{{external: {tmp_path / 's'}, capture: background}}"
        group_file(tmp_path, vm.qmp_path, daemon, state=state)
        refused = snapplan("group", "apply", file, *store)
        assert ("background-unsafe", f"guest: {SERVED}") in problems(refused)


def problems(done):
    assert done.returncode == 10, done.stderr
    return {(p["code"], p["subject"]) for p in as_json(done)["error"]["problems"]}


@pytest.mark.parametrize("after", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_kill_between_the_two_leaves_nothing(tmp_path, after):
    """SIGKILL around `cont`: both are undone, and the guest runs on in order."""
    store = ("--store", tmp_path / "store")
    with pair() as (daemon, vm):
        vm.wait_guest()
        before = daemon.tags(), daemon.exported()
        with Gate(vm, "cont") as gate:
            file = group_file(tmp_path, gate.path, daemon)
            words = [SNAPPLAN, "group", "apply", file, *store]
            running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            gate.kill(running, after=after)
        with Gate(vm, "nothing"):
            done = as_json(snapplan("group", "recover", "together", *store, "--json"))
        assert {each["end"] for each in done["recovered"]} == {"undone"}
        assert (daemon.tags(), daemon.exported()) == before
        assert vm.tags("disk0") == []
        vm.wait_guest(since=len(vm.console()))
