"""While a person is asked, the world goes on: what was agreed to is done, or nothing is."""

import pytest

from planner.parts.manifest_text import read_manifest
from planner.store.store import Store, VmIdentity
from tests.live.faults import start
from tests.live.runs import SNAPPLAN, held, request_text, snapplan
from tests.live.snapshots import facts_of, save, save_external
from tests.support.images import qemu_img
from tests.support.qemu import qemu_img_binary
from tests.support.terminal import Terminal

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]
SPINNER = {"TERM": "xterm"}
NOTHING_CHANGED = "nothing was changed"
KEYS = {
    "ctrl-c": lambda asked: asked.interrupt(),
    "ctrl-c-twice": lambda asked: asked.interrupt(2),
    "ctrl-d": lambda asked: asked.end_input(),
    "n": lambda asked: asked.answer("n"),
    "return": lambda asked: asked.answer(""),
}
DELETE = "blockdev-snapshot-delete-internal-sync"


def made_again(vm, tag, *disks):
    """Another client takes a snapshot's parts away and makes others of the same tag."""
    for disk in disks:
        vm.execute(DELETE, device=disk, name=tag)
    vm.snapshot_disks(tag, *disks)


def test_a_snapshot_that_is_made_while_gc_asks_keeps_its_manifest(qemu, tmp_path):
    """The manifest that gc found empty is another one by the time of the answer."""
    vm = start(qemu)
    store = Store(tmp_path / "store")
    share = store.vm(VmIdentity.of(facts_of(vm), str(vm.qmp_path)))
    share.write(read_manifest(save(vm, "nightly", BOTH, "disk0").read_text()))
    for disk in BOTH:
        vm.execute(DELETE, device=disk, name="nightly")
    where = ["--vm", vm.qmp_path, "--store", store.root]
    with Terminal(SNAPPLAN, "gc", *where) as gc:
        gc.until("Remove what can be removed?")
        request = request_text("nightly", BOTH, "disk0")
        saved = snapplan("apply", "-", *where, text=request)
        assert saved.returncode == 0, f"a question locks nobody out: {saved.stderr}"
        assert gc.answer("y") == 10, gc.shown
    assert "[changed-while-asked]" in gc.shown
    assert snapplan("verify", "nightly", *where).returncode == 0


def test_a_snapshot_that_is_made_anew_while_delete_asks_is_not_deleted(qemu):
    """Nor is anything else, and the manifest stays."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH)
    with Terminal(SNAPPLAN, "delete", manifest, "--vm", vm.qmp_path) as delete:
        delete.until("Go on?")
        made_again(vm, "a", "disk1")
        assert delete.answer("y") == 10, delete.shown
    assert held(vm, BOTH) == {"disk0": ["a"], "disk1": ["a"]}
    assert manifest.exists()


def test_a_snapshot_that_is_made_anew_while_apply_asks_is_not_replaced(qemu, tmp_path):
    """It has the id and the tag of the one that was to go, and is of another instant."""
    vm = start(qemu)
    vm.snapshot_disks("a", *BOTH)
    request = tmp_path / "request"
    request.write_text(request_text("a", BOTH, existing_tag="replace"))
    with Terminal(SNAPPLAN, "apply", request, "--vm", vm.qmp_path) as apply:
        apply.until("Delete the existing snapshot")
        made_again(vm, "a", *BOTH)
        before = {disk: vm.snapshots(disk) for disk in BOTH}
        assert apply.answer("y") == 10, apply.shown
    assert "[changed-while-asked]" in apply.shown
    assert {disk: vm.snapshots(disk) for disk in BOTH} == before


@pytest.mark.parametrize("command", ["load", "delete"])
def test_an_image_that_is_written_while_it_is_asked_about_stays(qemu, tmp_path, command):
    """The VM was started and ended meanwhile: what it wrote is not what the answer gives up."""
    vm = start(qemu)
    overlay = tmp_path / "overlay.qcow2"
    manifest = save_external(vm, "a", ["disk0"], {"disk1": overlay})
    vm.end()
    more = ["--overlays", "commit"] if command == "delete" else []
    with Terminal(SNAPPLAN, command, manifest, "--offline", *more) as asked:
        asked.until("Go on?")
        qemu_img(qemu_img_binary(), "snapshot", "-c", "later", vm.image("disk0"))
        assert asked.answer("y") == 10, asked.shown
    assert "[changed-while-asked]" in asked.shown
    assert vm.image_tags("disk0") == ["a", "later"]
    assert overlay.exists()
    assert manifest.exists()


def said_no(asked, press, question):
    """The question is seen whole, nothing moves under it, and each of these is a plain no."""
    asked.until(f"{question} [y/N] ")
    assert not asked.still(0.5), "the progress line goes on while a person is asked"
    assert press(asked) == 130, asked.shown
    assert NOTHING_CHANGED in asked.shown
    assert "Traceback" not in asked.shown
    assert "Error" not in asked.shown


@pytest.mark.sample(2)
@pytest.mark.parametrize("key", KEYS)
def test_a_no_to_delete_leaves_the_snapshot(qemu, key):
    """However it is said: the VM was connected to, and its locks are held, while it is asked."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH)
    with Terminal(SNAPPLAN, "delete", manifest, "--vm", vm.qmp_path, **SPINNER) as asked:
        said_no(asked, KEYS[key], "Go on?")
    assert held(vm, BOTH) == {"disk0": ["a"], "disk1": ["a"]}
    assert manifest.exists()
    assert snapplan("delete", manifest, "--vm", vm.qmp_path, "--yes").returncode == 0, (
        "no lock is left"
    )


@pytest.mark.long
def test_ctrl_c_at_the_other_questions_is_a_no(qemu, tmp_path):
    """What `apply` would replace, `gc` remove, `delete` and `load` change in images, is as before."""
    vm = start(qemu)
    where = ["--vm", vm.qmp_path, "--store", tmp_path / "store"]
    text = request_text("a", BOTH, existing_tag="replace")
    assert snapplan("apply", "-", *where, text=text).returncode == 0
    request = tmp_path / "request"
    request.write_text(text)
    twice = KEYS["ctrl-c-twice"]
    before = {disk: vm.snapshots(disk) for disk in BOTH}
    with Terminal(SNAPPLAN, "apply", request, *where, **SPINNER) as asked:
        said_no(asked, twice, "of disk0 (id 1), disk1 (id 1)?")
    assert {disk: vm.snapshots(disk) for disk in BOTH} == before
    for disk in BOTH:
        vm.execute(DELETE, device=disk, name="a")
    with Terminal(SNAPPLAN, "gc", *where, **SPINNER) as asked:
        said_no(asked, twice, "Remove what can be removed?")
    assert list((tmp_path / "store").glob("*/manifests/*.json"))
    overlay = tmp_path / "overlay.qcow2"
    manifest = save_external(vm, "b", ["disk0"], {"disk1": overlay})
    vm.end()
    for command in (["load"], ["delete", "--overlays", "commit"]):
        with Terminal(SNAPPLAN, *command, manifest, "--offline", **SPINNER) as asked:
            said_no(asked, twice, "Go on?")
        assert vm.image_tags("disk0") == ["b"]
        assert overlay.exists()
        assert manifest.exists()


def test_a_question_that_nobody_would_see_is_not_asked(qemu, tmp_path):
    """With standard error in a file a person would sit before a silent terminal."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH)
    log = tmp_path / "log"
    command = f"exec {SNAPPLAN} delete {manifest} --vm {vm.qmp_path} 2>{log}"
    with Terminal("/bin/sh", "-c", command) as shell:
        assert shell.answer("y") == 2, shell.shown
    assert "confirmation-missing" in log.read_text()
    assert held(vm, BOTH) == {"disk0": ["a"], "disk1": ["a"]}
