"""However a run is stopped, and whoever cannot be told: it undoes itself, and the guest goes on."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from backends.qemu import connect
from planner.compare.measuring import Measuring
from planner.compile.plan import compile_request
from planner.delete.delete_checks import plan_delete
from planner.delete.deleting import DeleteMachine
from planner.inspect.verifying import ask_images
from planner.load.load_checks import plan_load
from planner.load.loading import LoadMachine
from planner.model.request_text import read_request
from planner.parts.manifest_text import read_manifest
from planner.parts.part_image import images_of_vm
from planner.run.pump import Pump, ask_facts
from planner.save.save_machine import SaveMachine
from tests.live.faults import STEPS, Account, assert_nothing_left, request, start
from tests.live.gate import Gate
from tests.live.restores import request_of, store
from tests.live.runs import SNAPPLAN, held, snapplan
from tests.live.snapshots import act, save
from tests.support.fixtures import long
from tests.support.topology import DiskSpec, Topology

pytestmark = pytest.mark.real_qemu

BOTH = ["disk0", "disk1"]
KEPT = {"disk0": ["a"], "disk1": ["a"]}
DESIGNS = ("monolithic", "transactional")
TIMEOUT_S = 120


class AtStep:
    """A reporter that does something at one step: a step of a run, not a moment."""

    def __init__(self, step, act):
        self._step, self._act = step, act

    def step(self, _number, _count, what):
        if what.startswith(self._step):
            self._act()

    def note(self, text):
        """Nobody listens."""

    def amount(self, amount):
        """How far it is concerns nobody here."""


def fails():
    raise ValueError("a callback with a bug")


def driven(vm, use):
    """Await `use(link)` in a task of its own that it may cancel; what it raised, or returned."""

    async def work():
        link = await connect(str(vm.qmp_path))
        try:
            return await asyncio.create_task(use(link))
        finally:
            await link.close()

    return asyncio.run(work())


async def applied(link, design, reporter=None, backend=None):
    facts = await ask_facts(link)
    program = compile_request(read_request(request()), facts, design).program
    return await Pump(
        SaveMachine.on(program, facts), backend or link, images=link.images, reporter=reporter
    ).run()


async def ordered(link, manifest, kind, reporter=None, backend=None):
    """Load or delete a snapshot."""
    recorded = read_manifest(manifest.read_text(), str(manifest))
    facts = await ask_facts(link)
    images = images_of_vm(facts, await ask_images(link))
    if kind == "load":
        machine = LoadMachine.of(plan_load(recorded, facts, images))
    else:
        machine = DeleteMachine.of(plan_delete(recorded, facts, images, (), None, files_here=True))
    return await Pump(machine, backend or link, reporter=reporter).run()


# --- tasks that are cancelled -------------------------------------------------------------------


@pytest.mark.parametrize(("design", "step"), [STEPS[0], STEPS[3]])
def test_a_cancelled_run_is_undone_first(qemu, design, step):
    """The cancellation comes out only when no part is left and the guest runs."""
    vm = start(qemu)

    async def use(link):
        task = asyncio.current_task()
        await applied(link, design, AtStep(step, task.cancel))

    with pytest.raises(asyncio.CancelledError):
        driven(vm, use)
    assert_nothing_left(vm)


def test_a_run_whose_time_is_over_is_undone_first(qemu):
    """`asyncio.timeout` means what it says, and the guest runs."""
    vm = start(qemu)

    async def use(link):
        async with asyncio.timeout(None) as patience:
            over = asyncio.get_running_loop().time
            await applied(
                link, "transactional", AtStep("cont", lambda: patience.reschedule(over()))
            )

    with pytest.raises(TimeoutError):
        driven(vm, use)
    assert_nothing_left(vm)


def test_whoever_cancels_every_task_there_is_cancels_no_undo(qemu):
    """As a program does that ends: also the run's own task, and those of its connection."""
    vm = start(qemu)

    def cancel_all():
        for task in asyncio.all_tasks():
            task.cancel()

    async def use(link):
        await applied(link, "transactional", AtStep("transaction", cancel_all))

    with pytest.raises(asyncio.CancelledError):
        driven(vm, use)
    assert_nothing_left(vm)


@pytest.mark.parametrize(
    ("kind", "step"), [("load", "snapshot-load"), ("delete", "delete on disk0")]
)
def test_a_cancelled_load_or_delete_ends_well(qemu, kind, step):
    """A load resumes the guest; a delete stops between two parts, and another one finishes it."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH, "disk0")

    async def use(link):
        task = asyncio.current_task()
        await ordered(link, manifest, kind, AtStep(step, task.cancel))

    with pytest.raises(asyncio.CancelledError):
        driven(vm, use)
    assert vm.status() == "running"
    assert held(vm, KEPT) == (KEPT if kind == "load" else {**KEPT, "disk0": []})
    assert act(kind, manifest, vm, *(["--yes"] if kind == "delete" else []))[0] == 0


def test_a_cancelled_comparison_leaves_nothing(qemu):
    """The design in hand is undone, and the next is not begun."""
    vm = start(qemu)

    async def use(link):
        facts = await ask_facts(link)
        measuring = Measuring(link, read_request(request()), link.images, link.host)
        task = asyncio.current_task()
        measuring.tell = lambda _words: task.cancel()
        await measuring.measure(facts, DESIGNS)

    with pytest.raises(asyncio.CancelledError):
        driven(vm, use)
    assert_nothing_left(vm)


# --- signals, and streams that take no words ----------------------------------------------------


@contextlib.contextmanager
def applying(vm, tmp_path, **streams):
    """`snapplan apply` in its pause, at a transaction that QEMU has not got yet."""
    file = tmp_path / "request.yaml"
    file.write_text(request())
    with Gate(vm, "transaction") as gate:
        arguments = [SNAPPLAN, "apply", file, "--vm", gate.path, "--design", "transactional"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        with subprocess.Popen(
            [*arguments, "--json"], stdin=subprocess.DEVNULL, text=True, **streams
        ) as process:
            try:
                gate.wait_arrived()
                assert vm.status() == "paused"
                yield process, gate
            finally:
                process.kill()


@pytest.mark.parametrize(
    "number",
    [signal.SIGHUP, *long(signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM, signal.SIGUSR1)],
    ids=lambda number: number.name,
)
def test_every_signal_that_stops_is_a_way_to_undo(qemu, tmp_path, number):
    """A closed terminal as well as Ctrl-C: exit 130, no part is left, and the guest runs."""
    vm = start(qemu)
    with applying(vm, tmp_path) as (process, gate):
        process.send_signal(number)
        gate.release()
        out, err = process.communicate(timeout=TIMEOUT_S)
    account = Account(process.returncode, json.loads(out), err)
    assert (account.exit_code, account.code) == (130, "interrupted"), account
    assert account.stderr.count("stopping: step ") == 1, "it is said once, and at once"
    assert "then all that was done is undone" in account.stderr
    assert_nothing_left(vm)


def test_a_hang_up_that_is_to_be_ignored_and_ctrl_z_are_ignored(qemu, tmp_path):
    """Under nohup the run goes on, and is done; it is not suspended with the guest paused either."""
    vm = start(qemu)
    ignored = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with applying(vm, tmp_path, **ignored) as (process, gate):
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTSTP)  # Ctrl-Z would leave the guest paused
        gate.release()
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0
    assert held(vm, KEPT) == KEPT
    assert vm.status() == "running"


def closed():
    """A pipe that nobody will read any more."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def full():
    """A disk that is full."""
    return Path("/dev/full").open("w", encoding="utf-8")


@pytest.mark.parametrize("stream", [closed, full])
def test_words_that_nobody_takes_do_not_stop_the_undo(qemu, tmp_path, stream):
    """stderr is gone in the pause, and there is something to say: undone, 130, and the JSON is there."""
    vm = start(qemu)
    with stream() as stderr, applying(vm, tmp_path, stderr=stderr) as (process, gate):
        process.send_signal(signal.SIGTERM)
        gate.release()
        out, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert_nothing_left(vm)


def test_a_stderr_that_nobody_reads_keeps_no_guest_waiting(qemu, tmp_path):
    """A terminal that stands still: the undo is done before the words are taken, if they ever are."""
    vm = start(qemu)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, b"x" * 4096):
            pass
    os.set_blocking(writing, True)
    with applying(vm, tmp_path, stderr=writing) as (process, gate):
        os.close(writing)
        process.send_signal(signal.SIGTERM)
        gate.release()
        vm.wait_until(lambda: vm.status() == "running", "the guest runs again")
        with os.fdopen(reading, "rb") as words:
            assert b"undoing" in words.read().lstrip(b"x")
        process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert_nothing_left(vm)


@pytest.mark.parametrize("stream", [full, *long(closed)])
def test_a_run_that_is_done_is_done_whoever_hears_of_it(qemu, tmp_path, stream):
    """stdout takes nothing: the snapshot is whole and recorded, and the exit code says so."""
    vm = start(qemu)
    with stream() as stdout, applying(vm, tmp_path, stdout=stdout) as (process, gate):
        gate.release()
        _, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        assert snapplan("verify", "a", "--vm", gate.path).returncode == 0
    assert held(vm, KEPT) == KEPT


@pytest.mark.parametrize("design", DESIGNS)
def test_a_reporter_that_raises_stops_no_run(qemu, design):
    """A library user's callback with a bug: the run ends as if nobody had been told."""
    vm = start(qemu)
    outcome = driven(vm, lambda link: applied(link, design, AtStep("", fails)))
    assert outcome.failure is None
    assert held(vm, KEPT) == KEPT
    assert vm.status() == "running"


def test_a_restore_that_is_stopped_is_taken_back(qemu, tmp_path):
    """The QEMU that was started is ended, and the overlays that were made for it are gone."""
    vm = qemu.start(Topology(disks=(DiskSpec("disk0"),)))
    state = {"external": str(vm.directory / "a.state"), "capture": "stopped"}
    text = request_of("a", {"disk0": vm.directory / "a.disk0.qcow2"}, state, others="exclude")
    saved = snapplan("apply", "-", "--vm", vm.qmp_path, *store(vm), text=text)
    assert saved.returncode == 0, saved.stderr
    vm.end()
    told, deaf = tmp_path / "told", tmp_path / "deaf"
    os.mkfifo(told)
    deaf.write_text(f'#!/bin/sh\necho $$ >"{told}"\nexec sleep 3600\n')  # it never listens
    deaf.chmod(0o700)
    words = f"{deaf} {{disk:disk0}} {{format:disk0}} {{qmp}}"
    before = sorted(vm.directory.iterdir())
    command = [SNAPPLAN, "load", "a", "--run", words, "--qmp", vm.directory / "new", *store(vm)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        pid = int(told.read_text())
        process.send_signal(signal.SIGHUP)
        out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, err
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert sorted(vm.directory.iterdir()) == before
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# --- a job that another client dismisses --------------------------------------------------------


class DismissedBehindOurBack:
    """A backend whose jobs another client dismisses before any event of them is heard."""

    def __init__(self, link, vm):
        self._link, self._vm = link, vm

    def __getattr__(self, name):
        return getattr(self._link, name)

    async def execute(self, command, arguments, timeout_s):
        answer = await self._link.execute(command, arguments, timeout_s)
        if command in ("snapshot-save", "snapshot-load"):
            self._vm.finish_job(arguments["job-id"])  # in one go: our loop does not run meanwhile
        return answer


@pytest.mark.parametrize("design", DESIGNS)
def test_a_save_whose_job_is_gone_is_undone_at_once(qemu, design):
    """`concluded` and `null` come together: the VM is asked, and nothing is waited for."""
    vm = start(qemu)

    async def use(link):
        return await applied(link, design, backend=DismissedBehindOurBack(link, vm))

    outcome = driven(vm, use)
    assert outcome.failure.code == "job-vanished"
    assert outcome.phase == "undone"
    assert_nothing_left(vm)


def test_a_load_whose_job_is_gone_ends_at_once_and_says_what_it_cannot_know(qemu):
    """Nobody can say any more whether it was loaded, so the guest stays stopped."""
    vm = start(qemu)
    manifest = save(vm, "a", BOTH, "disk0")

    async def use(link):
        return await ordered(link, manifest, "load", backend=DismissedBehindOurBack(link, vm))

    outcome = driven(vm, use)
    assert outcome.failure.code == "job-vanished"
    assert {problem.code for problem in outcome.left} == {"disk-reverted", "machine-state-lost"}
    assert vm.status() == "paused"
