"""What a VM stands on, and the tree of its snapshots: right after deletes, crashes and failed loads."""

import json

import pytest
from attrs import evolve

from planner.errors import UndoIncomplete
from planner.load.load_ending import LoadOutcome
from planner.load.load_failure import UNTOUCHED, RevertedDisks
from planner.load.load_run import LoadRun
from planner.model.ancestor import Ancestor
from planner.parts.holdings import holdings, placed
from planner.parts.manifest import Manifest
from planner.parts.manifest_text import manifest_to_plain, read_manifest
from planner.run.phases import Phase
from planner.store.current import ancestors_now, current_of, set_current
from planner.store.journaled import JournaledRun
from planner.store.store import Store, VmIdentity
from tests.unit.build import facts
from tests.unit.snapshots import manifest

VM = VmIdentity("", "guest", "/run/vm/qmp")
A, B, C = (Ancestor(tag, number) for number, tag in enumerate("abc", start=1))


def snapshot(own, *ancestors):
    return manifest(tag=own.tag, started_ns=own.started_ns, ancestors=ancestors)


@pytest.fixture
def vm(tmp_path):
    share = Store(tmp_path / "store").vm(VM)
    with share.locked():
        yield share


def tree(vm):
    """Of each tag its parent, and the one that the VM stands on."""
    found = vm.manifests().found
    known = {each.ancestor for each in found}
    all_placed = [placed(each, known, current_of(vm)) for each in holdings(found, facts())]
    return {each.tag: each.parent for each in all_placed}, [e.tag for e in all_placed if e.current]


def test_a_vm_that_was_never_saved_stands_on_nothing(vm):
    """Nor does one whose store says something that cannot be read."""
    assert current_of(vm) == ()
    for damage in (
        b"",
        b"\xff",
        b"[]",
        b'{"format": "snapplan-current", "ancestors": 3}',
        b"[" * 99,
    ):
        (vm.folder / "current.json").write_bytes(damage)
        assert current_of(vm) == ()


def test_what_is_written_is_read_and_private(vm):
    """The file is of the user alone, and not written where nothing changes."""
    set_current(vm, (B, A))
    path = vm.folder / "current.json"
    assert current_of(vm) == (B, A)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.stat().st_ino
    set_current(vm, (B, A))
    assert path.stat().st_ino == before
    set_current(vm, ())
    assert current_of(vm) == ()


def test_children_of_a_deleted_snapshot_are_its_parents_children(vm):
    """No other manifest is written when one goes."""
    for each in (snapshot(A), snapshot(B, A), snapshot(C, B, A)):
        vm.write(each)
    set_current(vm, (C, B, A))
    assert tree(vm) == ({"a": "", "b": "a", "c": "b"}, ["c"])
    vm.delete("b")
    assert tree(vm) == ({"a": "", "c": "a"}, ["c"])
    vm.delete("c")
    assert tree(vm) == ({"a": ""}, ["a"])
    vm.delete("a")
    assert tree(vm) == ({}, [])


def test_a_tag_that_is_given_again_is_another_snapshot(vm):
    """The children of the first are not those of the second, and it stands under itself nowhere."""
    vm.write(snapshot(A))
    vm.write(snapshot(B, A))
    set_current(vm, (A,))
    anew = Ancestor("a", 9)
    assert ancestors_now(vm, VM, "a") == (), "it is replaced"
    vm.write(snapshot(anew))
    assert tree(vm) == ({"a": "", "b": ""}, [])


def test_a_new_snapshot_has_the_ancestors_that_are_still_there(vm):
    """So that the list does not grow with every snapshot that ever was."""
    vm.write(snapshot(A))
    set_current(vm, (C, B, A))
    assert ancestors_now(vm, VM, "new") == (A,)


def test_old_manifests_have_no_parent_and_are_read():
    """And new ones without ancestors are written as old ones were."""
    plain = manifest_to_plain(manifest())
    assert not {"ancestors", "description"} & set(plain)
    read = read_manifest(json.dumps(plain))
    assert (read.ancestors, read.description) == ((), "")
    child = evolve(manifest(), ancestors=(B, A), description="two\nlines")
    assert read_manifest(json.dumps(manifest_to_plain(child))) == child
    assert isinstance(read, Manifest)


def settled(vm, outcome):
    run = LoadRun(None, (B, A))
    LoadRun.record_end(run, outcome, JournaledRun(run, vm, None, None, "", 0, (B, A)))
    return current_of(vm)


@pytest.mark.parametrize(
    ("phase", "loaded", "reverted", "stands"),
    [
        (Phase.DONE, True, UNTOUCHED, (B, A)),
        (Phase.INCOMPLETE, True, UNTOUCHED, (B, A)),  # loaded, and paused where it should run
        (Phase.UNDONE, False, UNTOUCHED, (C,)),
        (Phase.UNKNOWN, False, UNTOUCHED, (C,)),  # `recover` will say
        (Phase.INCOMPLETE, False, RevertedDisks(("disk0",)), ()),
    ],
)
def test_a_load_that_reverted_nothing_changes_nothing(vm, phase, loaded, reverted, stands):
    """One that ended half way leaves a VM that stands on no snapshot."""
    set_current(vm, (C,))
    assert settled(vm, LoadOutcome(phase, "paused", loaded=loaded, reverted=reverted)) == stands


def test_a_load_that_cannot_be_written_down_is_not_forgotten(vm):
    """The error names what is missing; the journal stays, and `recover` writes it."""
    (vm.folder / "current.json").mkdir()
    order = type("Order", (), {"tag": "a"})
    run = LoadRun(order, (A,))
    begun = JournaledRun(run, vm, None, None, "", 0, (A,))
    with pytest.raises(UndoIncomplete) as caught:
        run.record_end(LoadOutcome(Phase.DONE, "running", loaded=True), begun)
    assert caught.value.code == "current-unwritten"
