"""What was decided before a question is looked at again before it is done."""

import asyncio

import pytest

from planner.collect.unneeded import OrphanKind
from planner.errors import Refused
from planner.model.image import Image
from planner.recover.forgetting import forget_run
from planner.recover.recovery import pending_run
from planner.run.consent import decide_and_ask
from planner.run.ports import NoReply
from planner.store.store import Store
from planner.verbs.collect import collect, look_for_garbage
from planner.verbs.context import Offline
from tests.unit.journals import recorded_run
from tests.unit.snapshots import TAG, manifest


class NoParts:
    """Image files that hold no snapshot any more, or that a VM has open."""

    def __init__(self, *, in_use=False):
        self.in_use = in_use

    async def look(self, filename, image_format):
        del image_format
        if self.in_use:
            raise NoReply("Failed to get shared lock")
        return Image(filename, "qcow2", 1)


@pytest.fixture
def share(tmp_path):
    (tmp_path / "key").mkdir()
    (vm,) = Store(tmp_path).vms()
    vm.write(manifest())
    return vm


def files_of(share, *, in_use=False):
    return Offline(Store(share.folder.parent), NoParts(in_use=in_use), host=None)


def decided(decisions, *, asked):
    left = list(decisions)

    async def decide():
        return left.pop(0)

    return asyncio.run(decide_and_ask(decide, lambda _: asked, "a"))


def test_what_nobody_was_asked_about_is_decided_once():
    """Without a question no time has passed."""
    assert decided([1], asked=False) == 1


def test_what_was_asked_about_is_decided_again():
    """The same: it is done.  Another: nothing is."""
    assert decided([1, 1], asked=True) == 1
    with pytest.raises(Refused) as refused:
        decided([1, 2], asked=True)
    assert refused.value.code == "changed-while-asked"


def test_gc_removes_what_was_agreed_to_and_only_while_it_is_garbage(share):
    """An image in use at the second look says nothing any more, so its manifest stays."""
    found = asyncio.run(look_for_garbage(files_of(share)))
    assert [each.kind for each in found.removable] == [OrphanKind.MANIFEST_EMPTY]
    with pytest.raises(Refused) as refused:
        asyncio.run(collect(files_of(share, in_use=True), found))
    assert refused.value.code == "changed-while-asked"
    assert share.manifest(TAG) is not None
    asyncio.run(collect(files_of(share), found))
    assert share.manifest(TAG) is None


def test_what_came_after_the_question_is_left(share):
    """Somebody agreed to one manifest; another that is empty by now was not asked about."""
    found = asyncio.run(look_for_garbage(files_of(share)))
    share.write(manifest(tag="later"))
    asyncio.run(collect(files_of(share), found))
    assert [each.tag for each in share.manifests().found] == ["later"]


def test_gc_removes_nothing_while_a_run_is_unfinished(share):
    """What recovery may still need is shown, with the way out."""
    share.journals.mkdir()
    (share.journals / "run.journal").write_text(recorded_run("transactional"))
    found = asyncio.run(collect(files_of(share)))
    assert found.removable == ()
    assert "snapplan recover" in found.orphans[0].message
    assert share.manifest(TAG) is not None


def test_a_run_that_somebody_recovers_meanwhile_is_not_forgotten(share):
    """Its journal has grown since it was shown; one that is gone is no error."""
    share.journals.mkdir()
    path = share.journals / "run.journal"
    whole = recorded_run("transactional")
    path.write_text("\n".join(whole.splitlines()[:3]) + "\n")
    shown = pending_run(share, path)
    path.write_text(whole)
    with pytest.raises(Refused) as refused:
        forget_run(shown)
    assert refused.value.code == "changed-while-asked"
    assert path.exists()
    forget_run(pending_run(share, path))
    assert not path.exists()
    forget_run(shown)
