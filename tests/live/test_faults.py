"""Whatever goes wrong in a run on a real QEMU: no part is left, the guest goes on, the account is true.

Faults strike at a step, never at a time: a reporter is told of each step before it is sent, and the
backend under the test's hands knows when a command is sent and when it is answered.
"""

import asyncio
import contextlib
import errno
import os
import signal

import pytest

from tests.live.faults import (
    DESIGNS,
    STEPS,
    MeddlingBackend,
    assert_guest_unharmed,
    assert_images,
    assert_loads,
    assert_nothing_left,
    request,
    start,
    through_library,
)
from tests.live.runs import held, image_node
from tests.support import images
from tests.support.qemu import qemu_img_binary
from tests.support.qmp import QmpClient
from tests.support.topology import DiskKind, DiskSpec, Topology, two_disks

pytestmark = pytest.mark.real_qemu

NOTHING = {"disk0": [], "disk1": []}
SHORT_S = 0.3


class AtStep:
    """A reporter that lets another client act just before a step is sent; the run waits for it."""

    def __init__(self, step: str, act) -> None:
        self._step = step
        self._act = act
        self.notes: list[str] = []

    def step(self, _number: int, _count: int, what: str) -> None:
        if what == self._step:
            self._act()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def amount(self, amount) -> None:
        """How far it is concerns nobody here."""


# --- another client -----------------------------------------------------------------------------


@pytest.mark.parametrize("clashing", [["disk0"], ["disk1"], ["disk0", "disk1"]], ids="+".join)
@pytest.mark.parametrize("design", DESIGNS)
def test_tag_taken_behind_the_planners_back(qemu, design, clashing):
    """Another client's snapshot of the same tag survives, whole, and nothing of ours is left."""
    vm = start(qemu)
    foreign = []

    def take_the_tag() -> None:
        vm.snapshot_disks("a", *clashing)
        foreign.extend(vm.snapshots(image_node(vm, disk)) for disk in clashing)

    reporter = AtStep("snapshot-save", take_the_tag)
    account = through_library(vm, request(), design, reporter=reporter)
    assert account.exit_code == 20, account
    assert account.code in {"job-failed", "command-refused", "part-count"}
    assert "no part of the snapshot is left" in account.said["error"]["vm-state"]
    assert len(reporter.notes) == 1
    assert [vm.snapshots(image_node(vm, disk)) for disk in clashing] == foreign
    theirs = {disk: ["a"] if disk in clashing else [] for disk in NOTHING}
    assert held(vm, theirs) == theirs
    assert vm.execute("query-jobs") == []
    assert_guest_unharmed(vm)
    assert_images(vm, theirs, leaks_allowed=("disk0",))


def test_tag_taken_between_the_machine_state_and_the_transaction(qemu):
    """The clash is on the last of three disks: the transaction does nothing, the rest is undone."""
    vm = start(qemu, two_disks(DiskKind.QCOW2, DiskKind.FILTERED, guest=True))
    text = request("disk0", "disk1", "disk2")
    clash = AtStep("transaction", lambda: vm.snapshot_disks("a", "disk2"))
    account = through_library(vm, text, "transactional", reporter=clash)
    assert (account.exit_code, account.code) == (20, "command-refused")
    assert "already exists on device 'disk2'" in account.said["error"]["message"]
    theirs = {"disk0": [], "disk1": [], "disk2": ["a"]}
    assert held(vm, theirs) == theirs
    assert_guest_unharmed(vm)
    assert_images(vm, theirs)


def test_transaction_refused_for_its_last_disk(qemu):
    """A block job begun on the last disk after the facts: QEMU says so, all is undone (fact 28)."""
    vm = start(qemu, two_disks(DiskKind.QCOW2, DiskKind.QCOW2, guest=True))

    def start_mirror() -> None:
        vm.execute("blockdev-add", {"driver": "null-co", "node-name": "sink", "size": 8 * 2**20})
        vm.execute(
            "blockdev-mirror", job_id="m", device="disk2", target="sink", sync="full", speed=1
        )

    text = request("disk0", "disk1", "disk2")
    account = through_library(vm, text, "transactional", reporter=AtStep("stop", start_mirror))
    assert (account.exit_code, account.code) == (20, "command-refused")
    assert held(vm, {"disk0": [], "disk1": [], "disk2": []}) == {
        "disk0": [],
        "disk1": [],
        "disk2": [],
    }
    assert_guest_unharmed(vm)
    vm.execute("block-job-cancel", device="m", force=True)
    assert_images(vm, {"disk0": [], "disk1": [], "disk2": []})


@pytest.mark.parametrize("step", ["snapshot-save", "transaction"])
def test_another_client_resumes_the_guest_inside_the_pause(qemu, step):
    """The parts would be of different instants: it is a failure, and undone."""
    vm = start(qemu)

    def resume() -> None:
        vm.execute("cont")
        vm.wait_guest(1, since=len(vm.console()))

    account = through_library(vm, request(), "transactional", reporter=AtStep(step, resume))
    assert (account.exit_code, account.code) == (20, "resumed-by-other")
    assert_nothing_left(vm)


def test_another_client_resumes_the_guest_once_all_is_captured(qemu):
    """Just before our own `cont` it does no harm: every part is of the pause, and they load."""
    vm = start(qemu)
    resume = AtStep("cont", lambda: vm.execute("cont"))
    account = through_library(vm, request(), "transactional", reporter=resume)
    assert account.exit_code == 0, account
    assert_loads(vm, account)
    assert_images(vm, {"disk0": ["a"], "disk1": ["a"]})


# --- QEMU itself fails --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize("design", DESIGNS)
def test_write_error_in_the_vmstate(qemu, design, number):
    """QEMU's own words are told, the guest goes on; clusters may leak on that disk (fact 12)."""
    failing = {"event": "vmstate_save", "errno": number, "once": True}
    faulty = DiskSpec("disk0", DiskKind.FAULTY, inject_error=(failing,))
    vm = start(qemu, Topology((faulty, DiskSpec("disk1")), guest=True))
    account = through_library(vm, request(), design)
    assert (account.exit_code, account.code) == (20, "job-failed")
    assert "QEMU says: " in account.said["error"]["message"]
    assert os.strerror(errno.EIO) in account.said["error"]["message"]  # QEMU says that of either
    assert held(vm, NOTHING) == NOTHING
    assert vm.execute("query-jobs") == []
    assert_guest_unharmed(vm)
    again = through_library(vm, request(), design)
    assert again.exit_code == 0, "the fault struck once; the next run succeeds"
    assert_loads(vm, again)
    assert_images(vm, {"disk0": ["a"], "disk1": ["a"]}, leaks_allowed=("disk0",))


# --- the connection -----------------------------------------------------------------------------


async def cut(backend) -> None:
    backend.cut()


@pytest.mark.parametrize("when", ["before", "while", "after"])
@pytest.mark.parametrize(("design", "command"), STEPS)
def test_connection_is_cut(qemu, design, command, when):
    """Before a step is sent, before its answer or after it: snapplan comes back and undoes it."""
    vm = start(qemu)
    backend = MeddlingBackend(str(vm.qmp_path), command, when, cut)
    account = through_library(vm, request(), design, backend=backend)
    assert backend.struck
    assert (account.exit_code, account.code) == (20, "connection-lost")
    assert_nothing_left(vm)


@pytest.mark.long
def test_connection_is_cut_and_another_client_is_on_the_socket(qemu):
    """Nobody can be asked: exit 22, which says so, and the guest is left as it was."""
    vm = start(qemu)
    with contextlib.ExitStack() as stack:

        async def cut_and_take_its_place(backend) -> None:
            backend.cut()
            other = await asyncio.to_thread(QmpClient, vm.qmp_path)
            stack.enter_context(contextlib.closing(other))

        backend = MeddlingBackend(
            str(vm.qmp_path), "snapshot-save", "before", cut_and_take_its_place
        )
        account = through_library(vm, request(), "monolithic", backend=backend)
    assert account.exit_code == 22
    assert account.problem_codes == {"connection-lost", "vm-silent"}
    assert "not known" in account.said["error"]["vm-state"]
    assert_nothing_left(vm)


# --- QEMU dies or hangs -------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "while", "after"])
@pytest.mark.parametrize(("design", "command"), STEPS)
def test_qemu_is_killed(qemu, design, command, when):
    """Its images are looked at offline, and what the run made is deleted there."""
    vm = start(qemu)
    vm.snapshot_disks("old", "disk0", "disk1")

    async def kill(_backend) -> None:
        vm.process.kill()  # and nobody waits until it is gone: that is snapplan's business

    backend = MeddlingBackend(str(vm.qmp_path), command, when, kill)
    account = through_library(vm, request(), design, backend=backend)
    assert backend.struck
    # Killed meanwhile, QEMU may still have said that the guest runs, which is an end as good.
    codes = {"connection-lost", *(("run-state-unexpected",) if when == "while" else ())}
    assert account.exit_code == 20, account
    assert account.code in codes, account
    assert "QEMU is gone" in account.said["error"]["vm-state"]
    assert vm.wait_death() == -signal.SIGKILL
    if when == "while":
        # QEMU may die between raising a snapshot's reference counts and writing its table. Then these
        # are too high, and `qemu-img check` calls the flags beside them errors: nothing is lost.
        for disk in NOTHING:
            repair = ("check", "-q", "-r", "leaks", vm.image(disk))
            images.qemu_img(qemu_img_binary(), *repair, may_fail=True)
    assert_images(vm, {"disk0": ["old"], "disk1": ["old"]}, leaks_allowed=NOTHING)


@pytest.mark.parametrize(("design", "command"), STEPS)
def test_qemu_hangs_and_stays_so(qemu, design, command):
    """Stopped by SIGSTOP it answers nothing: exit 22, and what is known is said."""
    vm = start(qemu)

    async def hang(backend) -> None:
        os.kill(vm.process.pid, signal.SIGSTOP)
        backend.patience_s = SHORT_S  # also for the questions afterwards

    backend = MeddlingBackend(str(vm.qmp_path), command, "before", hang)
    try:
        account = through_library(vm, request(), design, backend=backend)
    finally:
        os.kill(vm.process.pid, signal.SIGCONT)
    assert account.exit_code == 22
    assert account.problem_codes == {"deadline-passed", "vm-silent"}
    assert "cannot be asked" in account.said["error"]["vm-state"]
