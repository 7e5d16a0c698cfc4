"""The library as a tool author uses it, on a real QEMU with a guest that checks itself."""

import asyncio
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import snapplan
from qemu.qmp import EventListener, QMPClient

from tests.live.runs import held
from tests.live.runs import snapplan as command_line
from tests.support.topology import Topology, two_disks

pytestmark = pytest.mark.real_qemu

DISKS = ("disk0", "disk1")
BLOCK = re.compile(r"^```python\n(import asyncio, snapplan\n.*?)^```", re.MULTILINE | re.DOTALL)
(PROGRAM,) = BLOCK.findall(Path("README.md").read_text())
"""The README's own, which is not to be longer."""


@pytest.fixture
def vm(qemu):
    """A VM with two qcow2 disks and a guest that writes to both."""
    started = qemu.start(Topology(two_disks().disks, guest=True))
    started.wait_guest(1)
    return started


def test_the_ten_lines(vm):
    """The program of the README: saved, loaded, deleted, and the guest goes on."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("/run/vm/snapplan.sock", str(vm.qmp_path))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "step 1 of" in done.stdout
    assert len([line for line in PROGRAM.splitlines() if line.strip()]) <= 10
    assert vm.qmp.execute("query-status")["status"] == "running"
    assert held(vm, DISKS) == {disk: [] for disk in DISKS}
    vm.wait_guest(1, since=len(vm.console()))


def test_the_blocking_twin(vm):
    """The same without a loop; what it made is a snapshot like any other, for the command line too."""
    with snapplan.sync.attach(vm.qmp_path) as attached:
        before = attached.save("before")
        assert before.standing is snapplan.Standing.COMPLETE
        assert before.has_machine_state
        assert len(before.parts) == 2
        assert [each.tag for each in attached.snapshots()] == ["before"]
        assert before.verify().findings == ()
        before.load()
    listed = command_line("verify", "before", "--vm", vm.qmp_path)
    assert listed.returncode == 0, listed.stdout
    with snapplan.sync.attach(vm.qmp_path) as attached:
        attached.snapshot("before").delete()
        with pytest.raises(snapplan.BadInput) as caught:
            attached.snapshot("before")
    assert caught.value.code == "snapshot-unknown"


def test_a_client_that_the_launcher_holds(vm):
    """It stays the launcher's: its events reach it, and it goes on afterwards."""

    async def launcher():
        client = QMPClient("launcher")
        events = EventListener(names=("STOP", "RESUME"))
        client.register_listener(events)
        await client.connect(str(vm.qmp_path))
        listeners = list(client._listeners)
        try:
            async with snapplan.attach(client) as attached:
                snapshot = await attached.save("before", design="transactional")
                await snapshot.load()
                await snapshot.delete()
            status = await client.execute("query-status")
            assert client._listeners == listeners, "nothing of ours listens any more"
            return status["status"], [event["event"] for event in events.clear()]
        finally:
            await client.disconnect()

    status, events = asyncio.run(launcher())
    assert status == "running"
    assert events[:2] == ["STOP", "RESUME"]
    assert held(vm, DISKS) == {disk: [] for disk in DISKS}


def test_a_client_that_is_not_connected_is_an_error(vm):
    """One clear error, with what to do."""
    del vm

    async def launcher():
        async with snapplan.attach(QMPClient("launcher")):
            pass

    with pytest.raises(snapplan.CannotConnect) as caught:
        asyncio.run(launcher())
    assert caught.value.code == "not-connected"


@pytest.mark.parametrize("design", ["monolithic", "transactional"])
def test_a_save_that_is_cancelled_is_undone_first(vm, design):
    """Cancelled at each step: then the guest runs, nothing is left, and `CancelledError` is raised."""

    async def cancelled_at(step):
        async with snapplan.attach(vm.qmp_path) as attached:
            task = asyncio.create_task(
                attached.save(
                    f"c{step}",
                    design=design,
                    on_progress=lambda now: task.cancel() if now.step == step else None,
                )
            )
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await attached.inspect()).run_state, await attached.snapshots()

    steps = {"monolithic": 1, "transactional": 3}[design]
    for step in range(1, steps + 1):
        assert asyncio.run(cancelled_at(step)) == ("running", ())


def test_a_callback_that_raises_stops_nothing(vm):
    """It is not called again, and the snapshot is taken."""
    called = []

    def callback(progress):
        called.append(progress)
        raise RuntimeError("a bug of the tool")

    with snapplan.sync.attach(vm.qmp_path) as attached:
        snapshot = attached.save("before", on_progress=callback)
        assert snapshot.standing is snapplan.Standing.COMPLETE
        snapshot.delete()
    assert len(called) == 1


def test_ctrl_c_in_a_blocking_save_undoes_it(vm):
    """`KeyboardInterrupt` comes when the guest runs again and nothing is left."""
    program = (
        "import snapplan, sys, os, signal\n"
        "def stop(progress):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "with snapplan.sync.attach(sys.argv[1]) as vm:\n"
        "    try:\n"
        "        vm.save('before', design='transactional', on_progress=stop)\n"
        "    except KeyboardInterrupt:\n"
        "        print(vm.inspect().run_state, vm.snapshots())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(vm.qmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "running ()\n", done.stderr


WRONG = (
    ({"tag": "42"}, "tag-all-digits"),
    ({"tag": ""}, "tag-empty"),
    ({"tag": "a\nb"}, "tag-control-character"),
    ({"disks": (("disk0", snapplan.External("/a\0b")),)}, "path-malformed"),
    ({"disks": (("disk0", "internal"),)}, "value-wrong"),
    ({"disks": 2 * (("disk0", snapplan.Internal()),)}, "key-twice"),
    ({"machine_state": None}, "value-wrong"),
    (
        {
            "machine_state": snapplan.ExternalMachineState(
                "/srv/a", snapplan.Capture.LIVE, max_bandwidth=-1
            )
        },
        "value-wrong",
    ),
)


def test_a_request_that_is_an_object_is_checked_as_a_file_is(vm):
    """What snapplan would later refuse to load is never saved."""
    right = {
        "tag": "a",
        "machine_state": snapplan.NoMachineState(),
        "disks": (("disk0", snapplan.Internal()),),
    }
    with snapplan.sync.attach(vm.qmp_path) as attached:
        for wrong, code in WRONG:
            with pytest.raises(snapplan.BadInput) as caught:
                attached.save(snapplan.Request(**{**right, **wrong}))
            assert code in {problem.code for problem in caught.value.problems}
    assert held(vm, DISKS) == {disk: [] for disk in DISKS}


def test_threads_end_with_the_attachment(vm):
    """A tool that attaches a thousand times has no thread left of it."""
    before = threading.active_count()
    for _ in range(3):
        with snapplan.sync.attach(vm.qmp_path) as attached:
            attached.inspect()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threading.active_count() <= before
