"""What is done with a group that was made: nothing is deleted before every member was looked at."""

import asyncio

import click
import pytest

from planner.cli.group_load import _by_member, _changed
from planner.errors import BadInput, Problem, Refused
from planner.group.record import GroupMember, GroupRecord, GroupState
from planner.group.records import GroupStore
from planner.store.claims import ImageFile
from planner.store.store import Store, VmIdentity
from planner.verbs import group_records
from planner.verbs.group_members import _check_apart
from planner.verbs.group_records import delete_group

MEMBERS = tuple(
    GroupMember(name, "a", f"key-{name}", name, f"/run/{name}") for name in ("db", "web")
)


def test_a_refusal_of_the_second_member_costs_the_first_nothing(tmp_path, monkeypatch):
    """All are looked at first; what was refused names its member, and the record stays."""
    monkeypatch.setattr(group_records, "manifest_of", lambda *_: object())
    store, deleted = Store(tmp_path), []
    GroupStore.of(store).write(GroupRecord("g", "run", GroupState.COMMITTED, MEMBERS, 1))

    async def check_one(member):
        if member.name == "web":
            problem = Problem("overlays-undecided", "disk0", "it lies under an overlay")
            raise Refused(problem.words, problems=(problem,), code="delete-refused")

    async def delete_one(member):
        deleted.append(member.name)

    with pytest.raises(Refused) as refused:
        asyncio.run(delete_group(store, "g", check_one, delete_one, lambda _: False))
    assert [problem.subject for problem in refused.value.problems] == ["web: disk0"]
    assert deleted == []
    assert GroupStore.of(store).find("g") is not None


def test_what_may_have_changed_is_said_by_member():
    """Several of one member are one set; a stranger and half a pair are bad usage."""
    found = _changed(("db=disk1", "db=cd0", "web=disk1"), ("db", "web"))
    assert found == {"db": {"disk1", "cd0"}, "web": {"disk1"}}
    for text in ("job=disk1", "db=", "disk1"):
        with pytest.raises(click.BadParameter):
            _changed((text,), ("db", "web"))


def test_what_is_given_for_a_member_is_given_once():
    """A line may have `=` in it; a stranger, half a pair and a second line are bad usage."""
    assert _by_member(["db=qemu -m size=64"], ("db", "web"), "LINE") == {"db": "qemu -m size=64"}
    for texts in (["job=qemu"], ["db="], ["qemu"], ["db=one", "db=two"]):
        with pytest.raises(click.BadParameter):
            _by_member(texts, ("db", "web"), "LINE")


def test_a_record_leads_nowhere_out_of_the_store(tmp_path):
    """A hand-edited folder of a member that is a path is no record; one that is a name is."""
    groups = GroupStore.of(Store(tmp_path))
    groups.write(GroupRecord("g", "run", GroupState.COMMITTED, MEMBERS, 1))
    path = groups.path("g")
    whole = path.read_text()
    for key in ("../../etc", "/etc", ".", "..", "a/b", ""):
        path.write_text(whole.replace('"key-db"', f'"{key}"'))
        with pytest.raises(BadInput) as refused:
            groups.find("g")
        assert refused.value.code == "group-malformed"
    path.write_text(whole)
    assert groups.find("g").members == MEMBERS


def test_members_that_share_an_image_are_refused_before_any_lock():
    """Two VMs of one image have one share of the store: the second would be told to be locked."""

    class Found:
        def __init__(self, name, *images, below=()):
            self.lock_names = (f"process of {name}",)
            files = tuple(ImageFile(path, 1, inode, 7) for path, inode in images)
            self.identity = VmIdentity("", "", f"/run/{name}", files, frozenset(below))

    _check_apart({"db": Found("db", ("/a", 1)), "web": Found("web", ("/b", 2))})
    shared = [
        {"db": Found("db", ("/a", 1)), "web": Found("web", ("/link-to-a", 1))},
        {"db": Found("db", ("/a", 1)), "web": Found("web", ("/b", 2), below=["/a"])},
    ]
    for met in shared:
        with pytest.raises(Refused) as refused:
            _check_apart(met)
        (problem,) = refused.value.problems
        assert (problem.code, problem.subject) == ("group-image-shared", "db, web")
