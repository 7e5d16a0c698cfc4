"""Records of what is gone, and of several VMs that have snapshots of one tag; on a real QEMU."""

import contextlib
import json
import re
from pathlib import Path

import pytest

from tests.live.faults import start
from tests.live.runs import SNAPPLAN, request_text, snapplan
from tests.support.fixtures import long
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.terminal import Terminal
from tests.support.topology import DiskKind, Topology, two_disks

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]


def saved(vm, store, tag="nightly", **more):
    """Save internal parts on both disks, with machine state; the manifest's file."""
    text = request_text(tag, BOTH, "disk0", **more)
    done = snapplan("apply", "-", "--vm", vm.qmp_path, "--store", store, "--json", text=text)
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout)["manifest"])


def said(*command):
    """The exit code of a command, and what it says as JSON."""
    done = snapplan(*command, "--json")
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def codes(answer):
    return [problem["code"] for problem in answer["error"]["problems"]]


@contextlib.contextmanager
def unmounted(folder):
    """What is left of a folder whose file system is not mounted: an empty one."""
    away = folder.with_name(f"{folder.name}.away")
    folder.rename(away)
    folder.mkdir()
    try:
        yield
    finally:
        folder.rmdir()
        away.rename(folder)


def test_a_record_whose_images_are_gone_is_forgotten(qemu, tmp_path):
    """The VM was removed by hand: gc says so, no command names a way that does not work, and it goes."""
    vm = start(qemu)
    where = ["--store", tmp_path / "store"]
    manifest = saved(vm, tmp_path / "store")
    vm.end()
    for disk in BOTH:
        vm.image(disk).unlink()
    code, verdict = said("verify", "nightly", "--offline", *where)
    assert code == 30
    words = {finding["message"] for finding in verdict["findings"]}
    assert all("No such file or directory" in word for word in words), words
    code, found = said("gc", *where)
    assert (code, [each["kind"] for each in found["orphans"]]) == (0, ["manifest-empty"])
    code, forgotten = said("delete", "nightly", "--forget", *where)
    assert (code, forgotten["tag"], forgotten["left"]) == (0, "nightly", [])
    assert not manifest.exists()


def test_a_file_system_that_is_not_mounted_is_no_proof(qemu, tmp_path):
    """The folder of the images is empty, as a mount point is: nothing is forgotten without a word."""
    vm = start(qemu)
    where = ["--store", tmp_path / "store"]
    manifest = saved(vm, tmp_path / "store")
    vm.end()
    with unmounted(vm.directory):
        code, found = said("gc", "--yes", *where)
        kinds = [each["kind"] for each in found["orphans"]]
        assert (code, kinds) == (0, ["manifest-unreachable"])
        code, refused = said("delete", "nightly", "--offline", "--yes", *where)
        assert (code, codes(refused)) == (10, ["image-unreadable"] * 2)
        assert "--forget" in refused["error"]["problems"][0]["remedy"]
        code, refused = said("delete", "nightly", "--forget", *where)
        assert (code, codes(refused)) == (2, ["confirmation-missing"])
        with Terminal(SNAPPLAN, "delete", "nightly", "--forget", *where) as asked:
            asked.until("nobody can tell from here")
            asked.until("Forget it all the same? [y/N] ")
            assert asked.answer("n") == 130, asked.shown
        assert manifest.exists()
    assert said("delete", "nightly", "--offline", "--yes", *where)[0] == 0
    assert [vm.image_tags(disk) for disk in BOTH] == [[], []]


def test_what_is_still_there_is_named_before_its_record_goes(qemu, tmp_path):
    """One part was deleted by hand and one is there: it is forgotten only by somebody who knows."""
    vm = start(qemu)
    where = ["--store", tmp_path / "store"]
    manifest = saved(vm, tmp_path / "store")
    vm.end()
    qemu_img(qemu_img_binary(), "snapshot", "-d", "nightly", vm.image("disk0"))
    code, refused = said("delete", "nightly", "--forget", *where)
    assert (code, codes(refused)) == (2, ["confirmation-missing"])
    assert manifest.exists()
    code, forgotten = said("delete", "nightly", "--forget", "--yes", *where)
    assert code == 0
    assert [(each["code"], each["subject"]) for each in forgotten["left"]] == [
        ("part-there", "disk1")
    ]
    assert not manifest.exists()
    assert vm.image_tags("disk1") == ["nightly"]


@pytest.mark.long
def test_two_vms_with_one_tag_are_told_apart_by_name(qemu, tmp_path):
    """Each has its `nightly`: offline commands want to know whose, and `list` says what there is."""
    uuid = "7a3f9f0e-1111-4222-8333-944455556666"
    named = two_disks(guest=True, extra_args=("-name", "alpha"))
    other = two_disks(guest=True, extra_args=("-uuid", uuid))
    store = tmp_path / "store"
    vms = [start(qemu, named), start(qemu, other)]
    for vm in vms:
        saved(vm, store)
    code, listed = said("list", "--store", store)
    assert code == 0
    assert {vm["name"] or vm["uuid"] for vm in listed["vms"]} == {"alpha", uuid}
    snapshots = [each for vm in listed["vms"] for each in vm["snapshots"]]
    assert [each["tag"] for each in snapshots] == ["nightly"] * 2
    assert all(int(each["taken-ns"]) > 0 and each["machine-state"] for each in snapshots)
    text = snapplan("list", "--store", store).stdout
    assert "alpha" in text
    assert uuid in text
    assert re.search(
        r"nightly \(current\)  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  - +disk0, disk1", text
    ), text
    for vm in vms:
        vm.end()
    code, refused = said("verify", "nightly", "--offline", "--store", store)
    assert (code, codes(refused)) == (2, ["manifest-ambiguous"])
    assert "--name" in refused["error"]["problems"][0]["remedy"]
    assert "alpha" in refused["error"]["problems"][0]["message"]
    for which in ("alpha", uuid):
        where = ["--name", which, "--store", store]
        assert said("verify", "nightly", "--offline", *where)[0] == 0
        assert len(said("list", *where)[1]["vms"]) == 1
    code, refused = said("delete", "nightly", "--offline", "--yes", "--name", "x", "--store", store)
    assert (code, codes(refused)) == (2, ["vm-unknown"])
    assert "alpha" in refused["error"]["problems"][0]["remedy"]
    deleted = said("delete", "nightly", "--offline", "--yes", "--name", "alpha", "--store", store)
    assert deleted[0] == 0
    assert [vms[0].image_tags("disk0"), vms[1].image_tags("disk0")] == [[], ["nightly"]]
    assert said("verify", "nightly", "--offline", "--store", store)[0] == 0, "one has it now"


@pytest.mark.parametrize("image_format", ["raw", "vmdk", *long("vdi", "qed", "vhdx")])
def test_a_draft_is_taken_as_it_stands_twice(qemu, tmp_path, image_format):
    """One image, of a kind that holds no snapshot; the second draft finds a free tag and free paths."""
    vm = qemu.start(two_disks(DiskKind.QCOW2, guest=False))
    vm.end()
    only = vm.directory / f"only.{image_format}"
    qemu_img(qemu_img_binary(), "create", "-q", "-f", image_format, only, "8M")
    drive = f"file={only},format={image_format},if=none,id=only"
    alone = Topology(disks=())
    again = qemu.run(vm, alone, "-drive", drive, "-device", "virtio-blk-pci,drive=only")
    where = ["--vm", again.qmp_path, "--store", tmp_path / "store"]
    tags = []
    for _ in range(2):
        draft = snapplan("inspect", *where, "--request")
        assert draft.returncode == 0, draft.stderr
        done = snapplan("apply", "-", *where, "--json", text=draft.stdout)
        assert done.returncode == 0, f"{done.stderr}{draft.stdout}"
        tags.append(json.loads(done.stdout)["tag"])
    assert tags == ["my-snapshot", "my-snapshot-2"]
