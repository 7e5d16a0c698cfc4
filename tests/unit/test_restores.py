"""Restores are recorded before a file of theirs is made, and promoted by names alone."""

import asyncio
import json
import os
import stat
import subprocess
from pathlib import Path

import jsonschema
import pytest
from attrs import evolve

from backends.host import QemuHost
from planner.collect.restores_left import restores_left
from planner.errors import BadInput, Refused, RunFailed
from planner.host.processes import process_of
from planner.load.recording import RestoreRecord
from planner.load.restored import lying_problems, on_restore
from planner.model.facts import QemuVersion
from planner.model.image import Image
from planner.parts.manifest import Manifest
from planner.run.ports import HostRefused
from planner.store import promoting
from planner.store.promoting import promote
from planner.store.restore_records import Restore, RestoredFile, RestoreState, read_restore
from planner.store.restores import (
    forget_empty,
    known_restores,
    restore_path,
    restores_of,
    with_identities,
    write_restore,
)
from planner.store.store import Store, VmIdentity
from planner.verbs.context import Offline
from planner.verbs.restores import drop_restore, promote_restore
from tests.support.qemu import qemu_img_binary
from tests.unit.build import qcow2
from tests.unit.snapshots import vm as facts_of_vm
from tests.unit.test_restore import FROZEN, INTERNAL, plan

SAVED_NS = 77
SCHEMA = jsonschema.Draft202012Validator(
    json.loads(Path("specs/schemas/restore-record.schema.json").read_text())
)


@pytest.fixture
def vm(tmp_path):
    return Store(tmp_path / "store").vm(VmIdentity("", "guest", "/run/vm/qmp"))


@pytest.fixture
def files(tmp_path):
    """The overlays of a snapshot and of two restores of it, as files that are there."""
    names = ("o.qcow2", "o.restored-1.qcow2", "o.restored-2.qcow2")
    for name in names:
        (tmp_path / name).write_bytes(b"")
    return [str(tmp_path / name) for name in names]


def manifest(overlay_file):
    part = evolve(FROZEN, overlay_file=overlay_file)
    return Manifest("a b", "live", "0", QemuVersion(11, 1, 3), "pc", (part,), ended_ns=SAVED_NS)


def restore(file, number=1, state=RestoreState.STARTED, **more):
    made = RestoredFile("vars0", file, "qcow2", FROZEN.file, instead_of=more.pop("instead_of", ""))
    return Restore("a b", number, state, (made,), saved_ns=SAVED_NS, **more)


def names(vm):
    """Which overlay the manifest names, and which each restore."""
    overlay = vm.manifest("a b").parts[0].overlay_file
    of_restores = {each.number: [f.file for f in each.files] for each in restores_of(vm).found}
    return overlay, of_restores


def test_a_record_is_read_as_it_was_written_and_is_private(vm):
    """Also the process, and a tag that no file could be called by."""
    written = restore("/o", process=process_of(os.getpid()), socket="/run/s", made_ns=5)
    written = evolve(written, tag="../a\n")
    write_restore(vm, written)
    assert restores_of(vm).found == (written,)
    path = restore_path(vm, written)
    assert path.parent == vm.folder / "restores"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    SCHEMA.validate(json.loads(path.read_text()))
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate({**json.loads(path.read_text()), "state": "gone"})


@pytest.mark.parametrize(
    "damage",
    [b"", b"[]", b"\xff", b'{"format": "snapplan-restore"}',
     b'{"format": "snapplan-restore", "format-version": 1, "tag": 3}'],
)  # fmt: skip
def test_a_damaged_record_hides_no_other(vm, damage):
    """It is told of, with its file."""
    write_restore(vm, restore("/o"))
    write_restore(vm, restore("/p", 2))
    path = restore_path(vm, restore("/p", 2))
    path.write_bytes(damage)
    found = restores_of(vm)
    assert [each.number for each in found.found] == [1]
    assert {each.subject for each in found.problems} == {str(path)}
    assert {each.code for each in found.problems} <= {"restore-malformed", "text-unreadable"}
    with pytest.raises(BadInput):
        read_restore("{}", "x")


def test_numbers_are_one_for_all_files_of_a_restore():
    """Also where a file of that number, or an earlier restore, is in the way of one disk only."""
    other = evolve(FROZEN, disk="disk1", overlay_file="/over/d.a.qcow2")
    seen = {"vars0": {}, "disk1": {}}
    for disk in seen:
        seen[disk] = {FROZEN.file: Image(FROZEN.file, "raw", FROZEN.virtual_size_bytes)}
    both = Manifest("a", "live", "0", QemuVersion(11, 1, 3), "pc", (FROZEN, other))
    made = plan(both, seen, taken=["/over/d.a.restored-1.qcow2"], numbers={2})
    assert made.number == 3
    assert [disk.file for disk in made.disks] == [
        "/over/vars.a.restored-3.qcow2",
        "/over/d.a.restored-3.qcow2",
    ]


def test_what_is_made_is_recorded_before_and_forgotten_when_it_is_taken_back(vm, tmp_path):
    """A record names files before they are there; one whose files are gone goes."""
    overlay = str(tmp_path / "o.qcow2")
    parts = (INTERNAL, evolve(FROZEN, overlay_file=overlay))
    made = plan(evolve(manifest(overlay), tag="a", parts=parts))
    record = RestoreRecord.begin(vm, made, 5)
    (found,) = restores_of(vm).found
    assert (found.state, [f.file for f in found.files]) == (
        RestoreState.MAKING,
        [str(tmp_path / "o.restored-1.qcow2")],
    )
    Path(found.files[0].file).write_bytes(b"x")
    record.made(ready=False)
    (found,) = restores_of(vm).found
    assert found.files[0].inode == Path(found.files[0].file).stat().st_ino
    record.starting("/run/s")
    (known,) = known_restores(vm)
    assert (known.restore.state, known.runs) == (RestoreState.STARTED, None)
    record.started(os.getpid())
    (known,) = known_restores(vm)
    assert (known.restore.state, known.runs, known.empty) == (RestoreState.STARTED, True, False)
    record.taken_back()
    assert len(restores_of(vm).found) == 1, "its file is there"
    Path(found.files[0].file).unlink()
    record.taken_back()
    assert restores_of(vm).found == ()


def test_to_promote_changes_two_names_and_twice_changes_them_back(vm, files):
    """The manifest names the restore's overlay, and what it named before is set aside."""
    before, first, second = files
    vm.write(manifest(before))
    for number, file in ((1, first), (2, second)):
        write_restore(vm, restore(file, number, instead_of=before))
    promote(vm, vm.manifest("a b"), restores_of(vm).found[0])
    assert names(vm) == (first, {1: [before], 2: [second]})
    assert restores_of(vm).found[0].state is RestoreState.SET_ASIDE
    promote(vm, vm.manifest("a b"), restores_of(vm).found[1])
    assert names(vm) == (second, {1: [before], 2: [first]}), "none is lost"
    promote(vm, vm.manifest("a b"), restores_of(vm).found[1])
    assert names(vm) == (first, {1: [before], 2: [second]})


@pytest.mark.parametrize("killed_at", [1, 2, 3])
@pytest.mark.parametrize("number", [1, 2])
def test_a_promote_that_was_killed_is_finished_by_another(
    vm, files, monkeypatch, killed_at, number
):
    """Killed before each of its writes; each overlay is still named by somebody."""
    before, first, second = files
    vm.write(manifest(before))
    for each, file in ((1, first), (2, second)):
        write_restore(vm, restore(file, each, instead_of=before))
    promote(vm, vm.manifest("a b"), restores_of(vm).found[0])
    chosen = restores_of(vm).found[number - 1]
    wanted = chosen.files[0].file
    writes = []

    class Killed(BaseException):
        pass

    def dying(write):
        def wrapped(*arguments):
            writes.append(write)
            if len(writes) == killed_at:
                raise Killed
            return write(*arguments)

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(promoting, "write_restore", dying(write_restore))
        patch.setattr(type(vm), "write", dying(type(vm).write))
        with pytest.raises(Killed):
            promote(vm, vm.manifest("a b"), chosen)
    promote(vm, vm.manifest("a b"), restores_of(vm).found[number - 1])
    overlay, of_restores = names(vm)
    assert overlay == wanted
    assert {overlay, *(f for each in of_restores.values() for f in each)} == set(files)


def test_a_restore_of_a_snapshot_whose_record_is_gone_is_the_vms_own(vm, files):
    """Its overlay is nobody's restore any more; the one of before can be dropped."""
    before, first, _ = files
    write_restore(vm, restore(first, instead_of=before))
    after = promote(vm, None, restores_of(vm).found[0])
    assert [f.file for f in after.files] == [before]
    Path(before).unlink()
    write_restore(vm, restore(first, instead_of=before))
    promote(vm, None, restores_of(vm).found[0])
    assert restores_of(vm).found == ()


def test_the_overlay_that_runs_is_merged_and_the_others_are_named(files):
    """What the VM runs on takes the manifest's place; a restore of an earlier snapshot is none of it."""
    before, first, second = files
    recorded = manifest(before)
    restores = [restore(first, 1), restore(second, 2), evolve(restore("/x", 3), saved_ns=1)]
    running = facts_of_vm(qcow2("vars0", filename=first))
    seen = on_restore(recorded, restores, running)
    assert seen.manifest.parts[0].overlay_file == first
    assert seen.current == restores[0]
    problems = list(lying_problems(seen, files))
    assert [before in problems[0].message, second in problems[1].message] == [True, True]
    assert "`snapplan restore promote 'a b.restored-1'`, then" in problems[0].remedy
    assert "`snapplan restore drop 'a b.restored-2'`" in problems[1].remedy
    assert list(lying_problems(seen, [first])) == []
    ended = on_restore(recorded, restores, None)
    assert (ended.manifest, ended.current) == (recorded, None)
    assert len(list(lying_problems(ended, files))) == 2


def test_gc_forgets_only_records_of_which_nothing_is_left(vm, files):
    """A file, or a QEMU that may be there, is something."""
    _, first, second = files
    write_restore(vm, restore(first, 1))
    write_restore(vm, restore(second, 2, RestoreState.SET_ASIDE, process=process_of(os.getpid())))
    write_restore(vm, restore("/gone", 3, process=process_of(os.getpid())))
    write_restore(vm, restore("/gone", 4))
    write_restore(vm, restore("/gone", 5, RestoreState.MAKING))
    found = {
        each.subject[-1]: (each.kind.value, each.removable)
        for each in restores_left(known_restores(vm))
    }
    assert found == {
        "2": ("restore-set-aside", False),
        "4": ("restore-empty", True),
        "5": ("restore-empty", True),
    }
    Path(second).unlink()
    forget_empty(vm)
    assert [each.number for each in restores_of(vm).found] == [1, 3]


def overlay_on(base, path):
    create = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, path]
    subprocess.run([qemu_img_binary(), *map(str, create)], check=True)


def drop(path, base, instruction="drop-restored", **more):
    found = path.stat() if path.exists() else None
    told = {"inode": found.st_ino if found else 0, "born-ns": 0, "overlay": True} | more
    work = QemuHost().do(instruction, {"path": str(path), "base": str(base), **told}, 60)
    return asyncio.run(work)


@pytest.mark.parametrize("instruction", ["look-before-drop", "drop-restored"])
def test_only_the_file_that_was_recorded_is_dropped(tmp_path, instruction):
    """Not another one of its name, not over another image, not while an image lies over it."""
    base, path, above = (tmp_path / name for name in ("b.qcow2", "o.qcow2", "p.qcow2"))
    subprocess.run([qemu_img_binary(), "create", "-q", "-f", "qcow2", base, "1M"], check=True)
    overlay_on(base, path)
    cases = {"file-differs": {"inode": 1}, "part-needed": {}}
    overlay_on(path, above)
    for code, more in cases.items():
        with pytest.raises(HostRefused) as refused:
            drop(path, base, instruction, **more)
        assert refused.value.code == code
    above.unlink()
    with pytest.raises(HostRefused) as refused:
        drop(path, tmp_path / "other.qcow2", instruction)
    assert refused.value.code == "file-differs"
    assert path.exists()
    drop(path, base, instruction)
    assert path.exists() == (instruction == "look-before-drop")
    assert base.exists()


def test_what_a_process_has_open_is_not_dropped(tmp_path):
    """Whatever program it is, and whether it locks or not; who it is, is said."""
    base, path = tmp_path / "b.qcow2", tmp_path / "o.qcow2"
    subprocess.run([qemu_img_binary(), "create", "-q", "-f", "qcow2", base, "1M"], check=True)
    overlay_on(base, path)
    with path.open("rb") as held:
        reader = subprocess.Popen(["sleep", "60"], stdin=held)
    try:
        with pytest.raises(HostRefused) as refused:
            drop(path, base)
    finally:
        reader.kill()
        reader.wait(30)
    assert refused.value.code == "image-in-use"
    assert str(reader.pid) in refused.value.description
    drop(path, base)
    assert not path.exists()
    drop(path, base)  # gone is gone


class StuckHost:
    """A host that looks, and lets go of one file only."""

    def __init__(self, stuck):
        self.stuck = stuck

    async def do(self, instruction, arguments, timeout_s):
        assert timeout_s > 0
        if instruction == "drop-restored":
            if arguments["path"] == self.stuck:
                raise HostRefused("file-unwritable", "the test refuses it")
            os.unlink(arguments["path"])  # noqa: PTH108 - it is quick
        return {}


def test_a_drop_that_could_not_be_finished_is_finished_by_another(vm, files):
    """What is left is named, its record stays, and once it goes the record goes."""
    store = Store(vm.folder.parent)
    two = [RestoredFile(d, f, "qcow2", "/b") for d, f in zip("ab", files[1:], strict=True)]
    write_restore(vm, evolve(restore("/x"), files=tuple(two)))
    name = "a b.restored-1"
    with pytest.raises(RunFailed) as failed:
        asyncio.run(drop_restore(Offline(store, None, StuckHost(files[1])), name))
    assert [(p.code, p.subject) for p in failed.value.problems] == [("file-left", "a")]
    (known,) = known_restores(vm)
    assert known.there == (files[1],)
    Path(files[2]).write_bytes(b"")
    asyncio.run(drop_restore(Offline(store, None, StuckHost("")), name))
    assert (restores_of(vm).found, Path(files[1]).exists()) == ((), False)


@pytest.mark.parametrize(
    ("source", "code"),
    [("a b.restored-2", "restore-unknown"), ("a b.restored-1", "restore-ambiguous")],
)
def test_a_restore_is_named_so_that_only_one_is_meant(vm, source, code):
    """Two VMs with one: its file says which."""
    store = Store(vm.folder.parent)
    other = store.vm(VmIdentity("", "other", "/run/vm/other"))
    for each in (vm, other):
        write_restore(each, restore("/gone"))
    with pytest.raises(BadInput) as refused:
        promote_restore(store, source)
    assert refused.value.code == code
    with pytest.raises(Refused) as refused:
        promote_restore(store, str(restore_path(other, restore("/gone"))))
    assert [each.code for each in refused.value.problems] == ["file-missing"]


def test_another_file_of_its_name_is_not_promoted(vm, files):
    """Nor one that was being made when a snapplan died."""
    write_restore(vm, with_identities(restore(files[1], state=RestoreState.MAKING)))
    made = Path(files[1])
    made.with_suffix(".new").write_bytes(b"x")
    made.with_suffix(".new").replace(made)
    with pytest.raises(Refused) as refused:
        promote_restore(Store(vm.folder.parent), "a b.restored-1")
    codes = [each.code for each in refused.value.problems]
    assert codes == ["file-differs", "restore-unfinished"]
