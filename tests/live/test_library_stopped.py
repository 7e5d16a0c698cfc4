"""Whatever stops a program in the middle of a save, a load or a delete: it is undone or ended first."""

import asyncio
import json
import logging

import pytest
import snapplan
from qemu.qmp import QMPClient

from tests.live.runs import held
from tests.support.topology import Topology, two_disks

pytestmark = pytest.mark.real_qemu

DISKS = ("disk0", "disk1")


@pytest.fixture
def vm(qemu):
    """A VM with two qcow2 disks and a guest that writes to both."""
    started = qemu.start(Topology(two_disks().disks, guest=True))
    started.wait_guest(1)
    return started


def cancelling(step):
    """A callback that cancels the task that it runs for, at a step; and of which step it heard last."""
    heard = []

    def on_progress(progress):
        if progress.step:
            heard.append(progress.step)
        if progress.step == step:
            owner[0].cancel()

    owner = []
    return on_progress, owner, heard


async def cancelled(work_of, step):
    """Whether the work was cancelled at a step; False: it has no such step."""
    on_progress, owner, heard = cancelling(step)
    task = asyncio.create_task(work_of(on_progress))
    owner.append(task)
    if step == 0:
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return heard


def test_a_load_that_is_cancelled_at_any_step_is_whole(vm):
    """Each time the guest runs, every part is there, and the next load succeeds."""

    async def manager():
        async with snapplan.attach(vm.qmp_path) as attached:
            snapshot = await attached.save("a")
            for step in (0, 1, 2):
                await cancelled(lambda tell: snapshot.load(on_progress=tell), step)
                assert (await attached.inspect()).run_state == "running"
                (seen,) = await attached.snapshots()
                assert seen.standing is snapplan.Standing.COMPLETE
                await snapshot.load()
            await snapshot.delete()

    asyncio.run(manager())
    assert held(vm, DISKS) == {disk: [] for disk in DISKS}


def test_a_delete_that_is_cancelled_is_finished_by_another(vm):
    """It stops between two parts; the record stays until the last one is gone."""

    async def manager():
        async with snapplan.attach(vm.qmp_path) as attached:
            snapshot = await attached.save("a")
            await cancelled(lambda tell: snapshot.delete(on_progress=tell), 1)
            assert (await attached.inspect()).run_state == "running"
            (seen,) = await attached.snapshots()
            assert seen.standing is snapplan.Standing.INCOMPLETE
            await seen.delete()
            assert await attached.snapshots() == ()

    asyncio.run(manager())


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_borrowed_client_is_given_back_whenever_it_is_cancelled(vm, step):
    """The launcher's connection is good afterwards, and nothing is left of the save."""

    async def launcher():
        client = QMPClient("launcher")
        await client.connect(str(vm.qmp_path))
        listeners = list(client._listeners)
        try:
            async with snapplan.attach(client) as attached:
                await cancelled(
                    lambda tell: attached.save("a", design="transactional", on_progress=tell), step
                )
            assert client._listeners == listeners
            return (await client.execute("query-status"))["status"]
        finally:
            await client.disconnect()

    assert asyncio.run(launcher()) == "running"
    assert held(vm, DISKS) == {disk: [] for disk in DISKS}


async def save_in_time(attached):
    """A save whose time is over at its second step."""
    now = asyncio.get_running_loop().time
    async with asyncio.timeout(None) as patience:

        def on_progress(progress):
            if progress.step == 2:
                patience.reschedule(now())

        await attached.save("a", design="transactional", on_progress=on_progress)


def test_a_time_that_is_over_undoes_first(vm):
    """`asyncio.timeout` raises when the guest runs and nothing is left."""

    async def manager():
        async with snapplan.attach(vm.qmp_path) as attached:
            with pytest.raises(TimeoutError):
                await save_in_time(attached)
            return (await attached.inspect()).run_state, await attached.snapshots()

    assert asyncio.run(manager()) == ("running", ())


async def save_beside_a_failure(attached):
    """A save in a task group whose other task fails at the save's second step."""
    reached = asyncio.Event()

    async def fails():
        await reached.wait()
        raise RuntimeError("of the tool")

    def on_progress(progress):
        if progress.step == 2:
            reached.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(fails())
        group.create_task(attached.save("a", design="transactional", on_progress=on_progress))


def test_a_task_group_that_falls_undoes_first(vm):
    """The other task's error comes out of the group, after the undo."""

    async def manager():
        async with snapplan.attach(vm.qmp_path) as attached:
            with pytest.raises(ExceptionGroup) as caught:
                await save_beside_a_failure(attached)
            assert caught.group_contains(RuntimeError, match="of the tool")
            return (await attached.inspect()).run_state, await attached.snapshots()

    assert asyncio.run(manager()) == ("running", ())


def test_callbacks_that_raise_stop_no_load_and_no_delete(vm):
    """Nor a recovery, nor a comparison."""

    def callback(progress):
        raise RuntimeError(f"a bug of the tool at {progress}")

    with snapplan.sync.attach(vm.qmp_path) as attached:
        snapshot = attached.save("a", on_progress=callback)
        snapshot.load(on_progress=callback)
        snapshot.delete(on_progress=callback)
        reports = attached.compare("b", designs=["monolithic"], measure=True, on_progress=callback)
        assert reports[0].measured is not None
        assert attached.snapshots() == ()
        assert attached.recover(on_progress=callback) == ()
    assert held(vm, DISKS) == {disk: [] for disk in DISKS}


def test_the_log_has_steps_and_commands(vm, caplog):
    """Steps at level info, QMP commands at debug, no answer of the guest's in either."""
    caplog.set_level(logging.DEBUG, "snapplan")
    with snapplan.sync.attach(vm.qmp_path) as attached:
        attached.save("a", design="transactional")
        attached.snapshot("a").load()
    said = [(each.name, each.levelno, each.getMessage()) for each in caplog.records]
    steps = [text for name, level, text in said if (name, level) == ("snapplan.run", logging.INFO)]
    assert any(text.startswith("step 1 of 3: ") for text in steps), steps
    commands = [text for name, level, text in said if name == "snapplan.qmp"]
    assert {level for name, level, _ in said if name == "snapplan.qmp"} == {logging.DEBUG}
    (load,) = [text for text in commands if text.startswith("> snapshot-load ")]
    assert json.loads(load.removeprefix("> snapshot-load "))["tag"] == "a"
    assert any(text.startswith("< snapshot-load answered after ") for text in commands)
    assert all("\n" not in text for text in commands)
