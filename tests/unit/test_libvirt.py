"""What the libvirt backend makes of QMP's words, on a libvirt that is only pretended."""

import asyncio
import json
import tempfile
from pathlib import Path

import pytest
from attrs import define, field

from backends.domain.address import parse_address
from backends.domain.backend import LibvirtBackend
from backends.domain.chains import Chains
from backends.domain.pivots import numbers_at_start
from planner.model.facts import Bitmap
from planner.model.node_names import Chain, chain_of, is_made_up
from planner.parts.reverted_disk import reverted_problems
from planner.program.resolution import overlay_node_name
from planner.run.ports import CommandRefused, ConnectionLost, NoReply
from planner.store.finding import is_here, named_backend
from planner.store.identity import absolute_address
from tests.unit.build import qcow2

OVERLAY = "/vm/b.overlay.qcow2"
SHOWN = overlay_node_name("", OVERLAY)
INTERNAL = {"type": "blockdev-snapshot-internal-sync", "data": {"device": "#libvirt-2-format"}}
PUT_ON = {
    "type": "blockdev-snapshot",
    "data": {"node": "#libvirt-1-format", "overlay": SHOWN},
}
ADD = {"driver": "qcow2", "node-name": SHOWN, "file": {"driver": "file", "filename": OVERLAY}}


@define(slots=False)
class Libvirt:
    """Two disks; `calls` are what it was told, queries but for the names that they held left out."""

    running: bool = False
    refuses: str = ""
    busy: bool = False
    overlaid: bool = False
    calls: list = field(factory=list)
    jobs: list = field(factory=list)
    not_ready: int = 0

    def ask(self, command, arguments, _files):
        if command == "query-status":
            return {"running": self.running}
        if command == "query-jobs":
            return self.jobs
        if command == "query-named-block-nodes":
            return self.nodes()
        if command == "query-block":
            top = "libvirt-3-format" if self.overlaid else "libvirt-1-format"
            return [self.block(0, "libvirt-2-format"), self.block(1, top)]
        self.calls.append((command, arguments))
        return {}

    def nodes(self):
        found = [node(2, "/vm/a.qcow2"), node(1, "/vm/b.qcow2")]
        return [*found, node(3, OVERLAY, "/vm/b.qcow2")] if self.overlaid else found

    @staticmethod
    def block(number, top):
        qdev = f"/machine/peripheral/virtio-disk{number}/virtio-backend"
        return {"device": "", "qdev": qdev, "inserted": {"node-name": top}}

    def disks(self):
        return [("vda", "virtio-disk0"), ("vdb", "virtio-disk1")]

    def is_busy(self):
        return self.busy

    def suspend(self):
        self.calls.append("suspend")
        return {}

    def snapshot(self, overlays):
        if self.refuses == "snapshot":
            raise CommandRefused("libvirt", "no")
        self.calls.append(("snapshot", dict(overlays)))
        self.overlaid = True

    def commit(self, target, base, top):
        self.calls.append(("commit", target, base, top))
        if self.refuses == "commit":
            raise CommandRefused("libvirt", "already in a block job")
        self.jobs = [{"id": f"commit-{target}-libvirt-3-format", "status": "ready"}]

    def commits(self, _target):
        return bool(self.jobs)

    def pivot(self, target):
        if self.not_ready:
            self.not_ready -= 1
            raise CommandRefused("GenericError", "not ready for pivot yet")
        self.calls.append(("pivot", target))
        self.jobs, self.overlaid = [], False


def node(number, file, backing=""):
    shown = {"node-name": f"libvirt-{number}-format", "drv": "qcow2", "file": file, "image": {}}
    return {**shown, "backing_file": backing} if backing else shown


def test_the_parts_beside_overlays_come_first_and_under_their_live_names():
    """One transaction without the overlays, then one call of libvirt's with all of them."""
    libvirt = Libvirt()
    chains = Chains(libvirt)
    assert chains.do("blockdev-add", ADD) == {}
    chains.do("transaction", {"actions": [PUT_ON, INTERNAL]})
    live = {**INTERNAL, "data": {"device": "libvirt-2-format"}}
    assert libvirt.calls == [
        ("transaction", {"actions": [live]}),
        ("snapshot", {"vdb": OVERLAY}),
    ]


def test_a_running_guest_gets_no_overlays_beside_other_parts():
    """Two calls would be two instants; nothing is sent."""
    libvirt = Libvirt(running=True)
    chains = Chains(libvirt)
    chains.do("blockdev-add", ADD)
    with pytest.raises(CommandRefused, match="another instant"):
        chains.do("transaction", {"actions": [PUT_ON, INTERNAL]})
    assert libvirt.calls == []
    chains.do("transaction", {"actions": [PUT_ON]})
    assert libvirt.calls == [("snapshot", {"vdb": OVERLAY})]


def test_overlays_refused_after_other_parts_are_no_refusal():
    """Something was done: the run has to look. Alone they are refused, and nothing was done."""
    chains = Chains(Libvirt(refuses="snapshot"))
    chains.do("blockdev-add", ADD)
    with pytest.raises(NoReply):
        chains.do("transaction", {"actions": [PUT_ON, INTERNAL]})
    with pytest.raises(CommandRefused):
        chains.do("transaction", {"actions": [PUT_ON]})


def test_an_overlay_is_known_again_by_its_file():
    """A new connection shows it as the old one called it, and does not delete a node in use."""
    chains = Chains(Libvirt(overlaid=True))
    nodes = [each["node-name"] for each in chains.do("query-named-block-nodes", {"flat": True})]
    assert nodes == ["#libvirt-2-format", "#libvirt-1-format", SHOWN]
    with pytest.raises(CommandRefused, match="busy"):
        chains.do("blockdev-del", {"node-name": SHOWN})


COMMIT = {"job-id": "mine", "device": SHOWN, "base-node": "#libvirt-1-format", "top-node": SHOWN}


def test_a_merge_is_libvirts_block_commit_under_our_name():
    """It is seen ready, pivots once libvirt has heard of that, and stays concluded until dismissed."""
    libvirt = Libvirt(overlaid=True, not_ready=1)
    chains = Chains(libvirt)
    chains.do("block-commit", COMMIT)
    assert [(job["id"], job["status"]) for job in chains.do("query-jobs", {})] == [
        ("mine", "ready")
    ]
    chains.do("job-complete", {"id": "mine"})
    assert libvirt.calls == [("commit", "vdb", "/vm/b.qcow2", OVERLAY), ("pivot", "vdb")]
    assert [job["status"] for job in chains.do("query-jobs", {})] == ["concluded"]
    chains.do("job-dismiss", {"id": "mine"})
    assert chains.do("query-jobs", {}) == []


def test_a_merge_that_was_begun_before_is_taken_up():
    """After a crash the same overlay's job is there already, under libvirt's name."""
    libvirt = Libvirt(overlaid=True, refuses="commit")
    libvirt.jobs = [{"id": "commit-vdb-libvirt-3-format", "status": "ready"}]
    chains = Chains(libvirt)
    chains.do("block-commit", COMMIT)
    assert [job["id"] for job in chains.do("query-jobs", {})] == ["mine"]
    libvirt.jobs = []
    with pytest.raises(CommandRefused):
        chains.do("block-commit", {**COMMIT, "job-id": "other"})


def test_a_merge_that_somebody_ended_has_failed_where_the_overlay_is_still_there():
    """And is done where it is gone."""
    libvirt = Libvirt(overlaid=True)
    chains = Chains(libvirt)
    chains.do("block-commit", COMMIT)
    libvirt.jobs = []
    assert chains.do("query-jobs", {})[0]["error"]


def test_nothing_is_changed_while_libvirt_runs_a_job():
    """A question is answered, and the job is among QEMU's."""
    libvirt = Libvirt(busy=True)
    chains = Chains(libvirt)
    with pytest.raises(CommandRefused, match="job"):
        chains.do("stop", {})
    assert libvirt.calls == []
    assert [job["type"] for job in chains.do("query-jobs", {})] == ["libvirt"]


def test_a_descriptor_that_is_not_sent_is_not_kept():
    """Without a connection nothing is sent, and nothing stays open."""
    backend = LibvirtBackend(parse_address("qemu:///system#a"))

    async def passing():
        with tempfile.TemporaryFile() as file:
            await backend.execute_with_descriptor("getfd", {"fdname": "a"}, file.fileno(), 1.0)

    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(ConnectionLost):
        asyncio.run(passing())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("nodes", "chain"),
    [
        (("disk0", "disk0-file"), Chain.QEMU),
        (("libvirt-2-format", "libvirt-2-storage"), Chain.BEHIND_LIBVIRT),
        (("#libvirt-2-format", "#libvirt-2-storage"), Chain.LIBVIRT),
        (("libvirt-pflash1-format",), Chain.BEHIND_LIBVIRT),
        (("#libvirt-pflash1-format",), Chain.LIBVIRT),
        (("snapplan-0123456789ab", "libvirt-2-storage"), Chain.BEHIND_LIBVIRT),
        (("#block123", "libvirt-like-format"), Chain.QEMU),
    ],
)
def test_whose_chain_it_is_shows_in_its_nodes(nodes, chain):
    """libvirt's own names over a socket; with a mark before them through libvirt."""
    assert chain_of(nodes) is chain
    assert is_made_up("libvirt-2-format")
    assert not is_made_up("libvirt-like-format")


@pytest.mark.parametrize(
    ("address", "backend", "here", "absolute"),
    [
        ("qemu:///system#a", "libvirt", True, "qemu:///system#a"),
        ("libvirt:qemu:///system#a", "libvirt", True, "qemu:///system#a"),
        ("qemu+unix:///session?socket=/s#a", "libvirt", True, "qemu+unix:///session?socket=/s#a"),
        ("qemu+ssh://host/system#a", "libvirt", False, "qemu+ssh://host/system#a"),
        ("qemu:/run/vm.sock", "qemu", False, "/run/vm.sock"),
        ("/run/vm.sock", "", True, "/run/vm.sock"),
        ("host:4444", "", False, "host:4444"),
    ],
)
def test_addresses(address, backend, here, absolute):
    """A domain has one address, whether the backend is named or not."""
    assert named_backend(address)[0] == backend
    assert is_here(address) is here
    assert absolute_address(address) == absolute


def test_the_number_that_an_image_had_at_the_start():
    """From the command line that libvirt made: of this file, and of what reads the file."""
    nodes = [
        {"driver": "file", "filename": "/vm/a", "node-name": "libvirt-2-storage"},
        {"driver": "qcow2", "filename": "/vm/a", "node-name": "libvirt-3-format"},
        {"driver": "file", "filename": "/vm/a", "node-name": "mine"},
        {"driver": "file", "filename": "/vm/b", "node-name": "libvirt-1-storage"},
    ]
    words = [word for node in nodes for word in ("-blockdev", json.dumps(node))]
    line = "\0".join(["qemu", *words, "-blockdev", "{", "-blockdev", "7", "-x", words[1], ""])
    assert [*numbers_at_start(line, "/vm/a")] == ["2"]
    assert [*numbers_at_start(line, "/vm/b")] == ["1"]
    assert [*numbers_at_start(line, "/vm")] == []


@pytest.mark.parametrize(
    ("qdev", "target"),
    [
        ("/machine/peripheral/virtio-disk1/virtio-backend", "vdb"),
        ("virtio-disk1", "vdb"),  # as QEMU calls a device of scsi, ide or usb
        ("/machine/unattached/device[3]", None),
        ("", None),
    ],
)
def test_a_disk_is_found_by_its_device_however_qemu_calls_it(qdev, target):
    libvirt = Libvirt()
    libvirt.block = lambda _number, top: {"qdev": qdev, "inserted": {"node-name": top}}
    [block, _] = Chains(libvirt).do("query-block", {})
    assert block.get("libvirt-target") == target


@pytest.mark.parametrize(
    ("chain", "remedy"),
    [(Chain.QEMU, "block-dirty-bitmap-remove"), (Chain.LIBVIRT, "virsh checkpoint-delete")],
)
def test_a_checkpoint_goes_by_libvirt(chain, remedy):
    """Its bitmap is never removed behind libvirt's back."""
    disk = qcow2("disk0", chain=chain, bitmaps=(Bitmap("b"),))
    [problem] = reverted_problems(disk, disk.filename, "t")
    assert remedy in problem.remedy
