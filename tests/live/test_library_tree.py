"""Snapshots as a manager sees them: descriptions, parents, the current one; and QEMUs of a launcher."""

import asyncio
import contextlib
import json
import os
import shlex
import subprocess

import pytest
import snapplan

from planner.load.command_line import fill_template
from tests.live.external import external_request, start_mixed
from tests.live.restores import Adopted, save_external, template
from tests.live.runs import held
from tests.live.runs import snapplan as command_line
from tests.support import qemu as harness
from tests.support.topology import Topology, two_disks

pytestmark = pytest.mark.real_qemu

DISKS = ("disk0", "disk1")
SAID = "before the upgrade\nof the kernel"


@pytest.fixture
def vm(qemu):
    """A VM with two qcow2 disks and a guest that writes to both."""
    started = qemu.start(Topology(two_disks().disks, guest=True))
    started.wait_guest(1)
    return started


def tree(attached):
    """Of each tag its parent; and the current ones."""
    found = attached.snapshots()
    return {each.tag: each.parent for each in found}, [each.tag for each in found if each.current]


def test_a_tree_of_snapshots(vm):
    """Saved, loaded, deleted: at each point it is what happened, and the command line says the same."""
    with snapplan.sync.attach(vm.qmp_path) as attached:
        first = attached.save("a", description=SAID)
        assert (first.description, first.parent, first.current) == (SAID, None, True)
        attached.save("b")
        last = attached.save("c")
        assert (last.parent, last.description) == ("b", "")
        attached.snapshot("b").delete()
        assert tree(attached) == ({"a": None, "c": "a"}, ["c"])
        first.load()
        assert tree(attached) == ({"a": None, "c": "a"}, ["a"])
        other = attached.save("d")
        assert (other.parent, other.current) == ("a", True)
        attached.snapshot("a").delete()
        assert tree(attached) == ({"c": None, "d": None}, ["d"])
        attached.save("a", description="another one of that tag")
        assert tree(attached) == ({"a": "d", "c": None, "d": None}, ["a"])
    # Other tests' VMs are in the same store.
    (known,) = [each for each in snapplan.stored() if each.vm.address == str(vm.qmp_path)]
    assert known.current_tag == "a"
    assert {each.tag: known.parent_of(each) for each in known.manifests} == {
        "a": "d",
        "c": "",
        "d": "",
    }
    said = json.loads(command_line("list", "--vm", vm.qmp_path, "--json").stdout)["snapshots"]
    assert {each["tag"]: (each["parent"], each["current"]) for each in said} == {
        "a": ("d", True),
        "c": (None, False),
        "d": (None, False),
    }
    text = command_line("list", "--vm", vm.qmp_path).stdout
    assert "after 'd', current" in text
    assert "  another one of that tag\n" in text
    verified = command_line("verify", "a", "--vm", vm.qmp_path).stdout
    assert "another one of that tag" in verified


def test_a_load_that_did_nothing_leaves_the_current_one(vm):
    """Refused since a part is gone; cancelled before QEMU is told to load."""

    async def manager():
        async with snapplan.attach(vm.qmp_path) as attached:
            first = await attached.save("a")
            await attached.save("b")
            task = asyncio.create_task(first.load(on_progress=lambda _: task.cancel()))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await attached.inspect()).run_state == "running"
            assert (await attached.snapshot("b")).current
            vm.execute("blockdev-snapshot-delete-internal-sync", device="disk1", name="a")
            with pytest.raises(snapplan.Refused):
                await first.load()
            assert (await attached.snapshot("b")).current

    asyncio.run(manager())


def test_a_description_is_checked_whoever_gives_it(vm):
    """Too long, or what would play with a terminal: refused before anything is sent."""
    wrong = {"x" * 4097: "description-too-long", "a\x1b[2J": "description-control-character"}
    with snapplan.sync.attach(vm.qmp_path) as attached:
        for description, code in wrong.items():
            with pytest.raises(snapplan.BadInput) as caught:
                attached.save("a", description=description)
            assert code in {problem.code for problem in caught.value.problems}
    assert held(vm, DISKS) == {disk: [] for disk in DISKS}


def saved_and_ended(qemu):
    """A snapshot with external parts, whose QEMU is gone: its VM, and its manifest."""
    vm = start_mixed(qemu)
    manifest = save_external(vm, external_request(vm, "stopped", internal=(), overlays=ALL))
    harness.end_process(vm.process)
    (vm.directory / "console").unlink(missing_ok=True)
    return vm, manifest


ALL = (*DISKS, "vars0")


def test_a_launcher_starts_qemu_itself(qemu):
    """It has the disks made ready, starts QEMU on these, and hands over the connection for the rest."""
    vm, manifest = saved_and_ended(qemu)
    store, socket = vm.directory / "store", vm.directory / "tool"

    async def launcher():
        shown = await snapplan.prepare_restore(manifest, store=store, dry_run=True)
        plan = await snapplan.prepare_restore(manifest, store=store)
        assert shown == plan, "to show it makes nothing"
        disks = {disk.part.disk: (disk.file, disk.format) for disk in plan.disks}
        words = (*fill_template(template(vm, manifest), disks, str(socket)), *plan.arguments)
        with contextlib.closing(Started(words, socket)) as started:
            await started.listens()
            async with snapplan.attach(socket, store=store) as attached:
                assert (await attached.inspect()).run_state == "inmigrate"
                assert await attached.restore(plan) == "running"
                assert restores(store) == [("started", started.process.pid)]
                snapshot = await attached.snapshot("a")
                assert snapshot.standing is snapplan.Standing.COMPLETE, snapshot.findings
                assert snapshot.current
                child = await attached.save(draft(await attached.inspect(), vm))
                assert child.parent == "a"

    asyncio.run(launcher())


def restores(store):
    """The state of each restore in a store, and its process."""
    said = [json.loads(path.read_text()) for path in store.glob("*/restores/*.json")]
    return [(each["state"], (each["process"] or {}).get("pid")) for each in said]


def draft(inspection, vm):
    """A request for the internal disks of the restored VM, with no machine state."""
    names = [each.disk.name for each in inspection.disks if not each.why_not]
    assert names, vm.directory
    return snapplan.Request(
        "child",
        snapplan.NoMachineState(),
        tuple((name, snapplan.Internal()) for name in names),
        others=snapplan.Others.EXCLUDE,
    )


class Started:
    """A QEMU of the launcher's."""

    def __init__(self, words, socket):
        self.socket = socket
        self.process = subprocess.Popen(list(words), stdin=subprocess.DEVNULL)

    async def listens(self):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_unix_connection(str(self.socket))
                writer.close()
                return
            assert self.process.poll() is None, "QEMU ended"
            await asyncio.sleep(0.05)

    def close(self):
        self.process.terminate()
        self.process.wait()


def test_the_library_starts_qemu(qemu):
    """As often as one likes, from words; it goes on without the program, and is the VM's current one."""
    vm, manifest = saved_and_ended(qemu)
    store, socket = vm.directory / "store", vm.directory / "tool"
    for _ in range(2):
        words = shlex.split(template(vm, manifest))
        restored = snapplan.sync.restore(manifest, words, qmp=socket, store=store)
        process = Adopted.of(restored.pid)
        try:
            assert (restored.run_state, restored.socket) == ("running", str(socket))
            with snapplan.sync.attach(restored.socket, store=store) as attached:
                assert attached.snapshot("a").current
        finally:
            harness.end_process(process)
            os.close(process.handle)
            socket.unlink(missing_ok=True)


def test_a_restore_that_is_cancelled_is_taken_back(qemu):
    """At its first step: no QEMU runs, and no new file is left."""
    vm, manifest = saved_and_ended(qemu)
    files = sorted(vm.directory.iterdir())

    async def launcher():
        work = snapplan.restore(
            manifest,
            template(vm, manifest),
            qmp=vm.directory / "tool",
            store=vm.directory / "store",
            on_progress=lambda _: task.cancel(),
        )
        task = asyncio.create_task(work)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(launcher())
    assert sorted(vm.directory.iterdir()) == files
