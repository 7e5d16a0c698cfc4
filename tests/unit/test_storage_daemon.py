"""A storage daemon's answers as a QEMU's: from what it says, and from nothing that it does not say."""

import asyncio
import contextlib
import os
import subprocess
import sys

import pytest

from backends.block_tree import tops_with_below
from backends.storage_daemon import answer_for_daemon
from planner.errors import CannotConnect
from planner.host.processes import daemon_process, process_of
from planner.run.ports import CommandRefused

NOT_FOUND = CommandRefused("CommandNotFound", "it has not been found")


def graph(*edges):
    """A block graph of edges: parent, role, child."""
    names = sorted({name for parent, _, child in edges for name in (parent, child)})
    ids = {name: number for number, name in enumerate(names, start=1)}
    return {
        "nodes": [{"id": ids[name], "type": "block-driver", "name": name} for name in names],
        "edges": [{"parent": ids[p], "name": role, "child": ids[c]} for p, role, c in edges],
    }


def test_what_lies_below_is_nested_as_for_a_device():
    """A format's file is its parent; an overlay has its base beside that; a job's filter its disk."""
    chain = graph(
        ("over", "file", "over-file"),
        ("over", "backing", "disk"),
        ("disk", "file", "disk-file"),
        ("#filter", "backing", "over"),
    )
    disk = {"node-name": "disk", "parent": {"node-name": "disk-file"}}
    over = {"node-name": "over", "parent": {"node-name": "over-file"}, "backing": disk}
    assert tops_with_below(chain) == [{"node-name": "#filter", "parent": over}]
    assert tops_with_below(chain, ["disk", "gone"]) == [
        {"node-name": "#filter", "parent": over},
        disk,
    ]


def test_a_graph_that_is_none_is_refused():
    """What lies below itself, or below so much that it would fill our memory."""
    with pytest.raises(CannotConnect, match="below itself"):
        tops_with_below(graph(("a", "file", "b"), ("b", "file", "a")), ["a"])
    rungs = range(40)
    ladder = [(f"{n:02}", role, f"{n + 1:02}") for n in rungs for role in ("file", "backing")]
    with pytest.raises(CannotConnect, match="too much"):
        tops_with_below(graph(*ladder))


class Peer:
    """Answers what it is given; it has no other command."""

    def __init__(self, **answers):
        self.answers = {name.replace("_", "-"): answer for name, answer in answers.items()}

    async def ask(self, command, arguments):
        del arguments
        answer = self.answers.get(command, NOT_FOUND)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answered(peer, command, **arguments):
    return asyncio.run(answer_for_daemon(peer.ask, command, arguments))


EXPORTS = [{"id": "e1", "node-name": "b", "type": "nbd"}, {"id": "e0", "node-name": "a"}]
NODES = [{"node-name": "a", "drv": "qcow2"}, {"node-name": "b", "drv": "raw"}]


def test_what_a_daemon_lacks_is_answered_from_its_exports():
    """In the order of their ids; it serves on, and never migrates."""
    daemon = Peer(query_block=[], query_block_exports=EXPORTS, query_named_block_nodes=NODES)
    shown = answered(daemon, "query-block")
    assert [(each["qdev"], each["inserted"]["drv"]) for each in shown] == [
        ("e0", "qcow2"),
        ("e1", "raw"),
    ]
    assert answered(daemon, "query-status") == {"status": "running", "running": True}
    assert answered(daemon, "query-migrate") == {}
    assert answered(daemon, "qom-get", path="/machine", property="type") == ""


def test_a_qemu_is_never_taken_for_one():
    """It has a run state, whatever else it has: no disks, exports of its own, no such property."""
    status = {"status": "paused", "running": False}
    lacking = CommandRefused("DeviceNotFound", "no such device")
    vm = Peer(query_status=status, query_block=[], query_block_exports=EXPORTS, qom_get=lacking)
    assert answered(vm, "query-block") == []
    assert answered(vm, "query-status") == status
    for where in ("/machine", "/machine/peripheral/x"):
        with pytest.raises(CommandRefused, match="no such device"):
            answered(vm, "qom-get", path=where, property="type")


@pytest.mark.parametrize("exports", [None, [None], [{"id": 1, "node-name": "a"}], [{"id": "e"}]])
def test_what_makes_no_sense_is_a_refusal(exports):
    """Never a disk that is not there."""
    told = {} if exports is None else {"query_block_exports": exports}
    daemon = Peer(query_block=NOT_FOUND, query_named_block_nodes=NODES, **told)
    with pytest.raises(CommandRefused):
        answered(daemon, "query-block")


def test_its_process_is_who_has_all_its_images_open(tmp_path):
    """Not a relay; and where several have them open, or one only some, it cannot be told."""
    images = [tmp_path / "a", tmp_path / "b"]
    for image in images:
        image.touch()
    files = [str(image) for image in images]
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(opening(files))
        assert (
            daemon_process(first, files) == daemon_process(os.getpid(), files) == process_of(first)
        )
        assert daemon_process(None, files) is None
        stack.enter_context(opening(files[:1]))
        assert daemon_process(os.getpid(), files) == process_of(first)
        second = stack.enter_context(opening(files))
        assert daemon_process(second, files) == process_of(second)
        assert daemon_process(os.getpid(), files) is None
    assert daemon_process(os.getpid(), files) is None


@contextlib.contextmanager
def opening(files):
    """A process that has files open; its id."""
    work = "import sys; kept = [open(each) for each in sys.argv[1:]]; print('open', flush=True); input()"
    words = [sys.executable, "-c", work, *files]
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "open\n"
        yield child.pid
    finally:
        child.communicate()
