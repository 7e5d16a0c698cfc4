"""What is done with a group that was made: nothing is deleted before every member was looked at."""

import asyncio

import click
import pytest

from planner.cli.group_load import _by_member, _changed
from planner.errors import Problem, Refused
from planner.group.record import GroupMember, GroupRecord, GroupState
from planner.group.records import GroupStore
from planner.store.store import Store
from planner.verbs import group_records
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
