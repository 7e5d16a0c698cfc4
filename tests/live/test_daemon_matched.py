"""Which storage daemon serves a VM's disks is seen, and another word in the request is an error."""

import contextlib

import pytest

from tests.live.runs import as_json, snapplan
from tests.support.images import create
from tests.support.outside import SHARED_MEMORY, folder
from tests.support.qemu import image_path, qemu_img_binary, run_qemu
from tests.support.storage_daemon import storage_daemon
from tests.support.topology import DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

NBD, SERVED = "remote", "vud0"


@contextlib.contextmanager
def vm_and_two_daemons():
    """A VM with a disk of each daemon: one by vhost-user-blk, one by NBD."""
    with contextlib.ExitStack() as stack:
        one, two, where = (stack.enter_context(folder()) for _ in range(3))
        first = stack.enter_context(storage_daemon(one, vhost=("disk0",)))
        second = stack.enter_context(storage_daemon(two))
        nbd = (
            f"driver=nbd,node-name={NBD},server.type=unix,server.path={second.nbd_path},export=data"
        )
        extra = (
            *SHARED_MEMORY,
            *("-chardev", f"socket,id=served,path={first.vhost_path('disk0')}"),
            *("-device", f"vhost-user-blk-pci,chardev=served,id={SERVED}"),
            *("-blockdev", nbd, "-device", f"virtio-blk-pci,drive={NBD}"),
        )
        topology = Topology((DiskSpec("disk0"),), extra_args=extra)
        create(qemu_img_binary(), image_path(where, topology.disks[0]), "qcow2", 2**20)
        yield first, second, stack.enter_context(run_qemu(topology, where))


def group_file(where, vm, members, **wishes):
    disks = ", ".join(f"{name}: {wish}" for name, wish in wishes.items())
    (where / "vm.yaml").write_text(
        f"tag: a\nmachine-state: {{internal: disk0}}\ndisks: {{disk0: internal, {disks}}}\n"
    )
    lines = [f"  guest: {{vm: {vm}, request: vm.yaml}}\n"]
    for name, daemon in members.items():
        asked = "disks: {disk0: internal, disk1: internal, data: {external: %s}}\n"
        asked %= daemon.directory / "data.a.qcow2"
        (where / f"{name}.yaml").write_text(f"tag: a-{name}\nmachine-state: none\n{asked}")
        lines.append(f"  {name}: {{vm: {daemon.qmp_path}, request: {name}.yaml}}\n")
    path = where / "group.yaml"
    path.write_text("group: together\nmembers:\n" + "".join(lines))
    return path


@pytest.mark.long
def test_who_serves_a_disk_is_seen(tmp_path):
    """The other daemon, or one that is no member, is an error with the right one; silence proposes."""
    store = ("--store", tmp_path / "store", "--json")
    by = "{{served-by: {}}}".format
    with vm_and_two_daemons() as (first, second, vm):
        both = {"first": first, "second": second}

        def refusal(members, **wishes):
            done = snapplan(
                "group", "plan", group_file(tmp_path, vm.qmp_path, members, **wishes), *store
            )
            assert done.returncode == 10, done.stderr
            found = as_json(done)["error"]["problems"]
            return {(p["code"], p["subject"]): p["remedy"] for p in found}

        seen = as_json(snapplan("inspect", "--vm", vm.qmp_path, "--json"))["outside"]
        assert [each["peer"] for each in seen] == [f"unix:{first.vhost_path('disk0')}"]
        told = snapplan("inspect", "--vm", vm.qmp_path).stdout
        for name, daemon in ((SERVED, first), (NBD, second)):
            [line] = [line for line in told.splitlines() if line.startswith(f"{name} is served")]
            assert f"qemu-storage-daemon {daemon.process.pid}, which" in line, line
            assert str(daemon.qmp_path) in line
        right = {SERVED: by("first"), NBD: by("second")}
        file = group_file(tmp_path, vm.qmp_path, both, **right)
        planned = snapplan("group", "plan", file, *store)
        assert planned.returncode == 0, planned.stderr
        members = as_json(planned)["plan"]["members"]
        assert [m["warnings"] for m in members if m["member"] == "guest"] == [[]]

        wrong = refusal(both, **{SERVED: by("second"), NBD: by("first")})
        assert {key: remedy.split("`")[1] for key, remedy in wrong.items()} == {
            ("served-by-another", f"guest: {SERVED}"): f"{SERVED}: {by('first')}",
            ("served-by-another", f"guest: {NBD}"): f"{NBD}: {by('second')}",
        }
        nobody = refusal(both, **{SERVED: by("third"), NBD: by("guest")})
        assert {key: remedy.split("`")[1] for key, remedy in nobody.items()} == {
            ("served-by-nobody", f"guest: {SERVED}"): f"{SERVED}: {by('first')}",
            ("served-by-nobody", f"guest: {NBD}"): f"{NBD}: {by('second')}",
        }
        no_member = refusal({"first": first}, **{SERVED: by("first"), NBD: by("first")})
        assert set(no_member) == {("served-by-another", f"guest: {NBD}")}
        silent = refusal(both, **{NBD: by("second")})
        assert by("first") in silent["storage-outside", f"guest: {SERVED}"]
