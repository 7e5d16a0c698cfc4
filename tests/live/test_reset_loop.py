"""Going back again and again over one connection, on a real QEMU."""

import asyncio
from collections import Counter

import pytest
import snapplan
from snapplan import Refused

from backends.qemu import connect
from planner.store.meeting import meet
from planner.store.process_locks import locked_names, names_of
from planner.store.store import Store
from tests.support.topology import Topology, two_disks

pytestmark = pytest.mark.real_qemu


@pytest.fixture
def vm(qemu):
    """A VM with two qcow2 disks and a guest that writes to both."""
    started = qemu.start(Topology(two_disks().disks, guest=True))
    started.wait_guest(1)
    return started


class Counted:
    """A connected backend that counts what is sent."""

    def __init__(self, backend):
        self._backend, self.sent = backend, Counter()

    def __getattr__(self, name):
        return getattr(self._backend, name)

    async def execute(self, command, arguments, timeout_s):
        self.sent[command] += 1
        return await self._backend.execute(command, arguments, timeout_s)


def test_a_load_asks_the_vm_once(vm, tmp_path):
    """The schema is asked for once a connection, the disks twice a load: before it, and after it."""

    async def work():
        counted = Counted(await connect(str(vm.qmp_path)))
        async with snapplan.attach(counted, store=tmp_path, address=str(vm.qmp_path)) as attached:
            snapshot = await attached.save("base")
            await snapshot.load()
            first, counted.sent = counted.sent, Counter()
            await snapshot.load()
            return first, counted.sent

    first, second = asyncio.run(work())
    assert first["query-qmp-schema"] == 1
    assert second["query-qmp-schema"] == second["query-version"] == 0
    assert second["query-block"] == 1
    assert second["snapshot-load"] == 1
    vm.wait_guest(1, since=len(vm.console()))


def test_what_is_plugged_between_two_loads_is_seen(vm, tmp_path):
    """Nothing that can change is remembered, however long the connection lasts."""

    async def work():
        async with snapplan.attach(vm.qmp_path, store=tmp_path) as attached:
            snapshot = await attached.save("base")
            await snapshot.load()
            vm.qmp.execute("device_add", {"driver": "virtio-rng-pci", "id": "new9"})
            return (await attached.inspect()).facts

    found = asyncio.run(work())
    assert [device.type for device in found.devices if "new9" in device.path] == ["virtio-rng-pci"]
    assert any(function.id == "new9" for function in found.hardware.pci)


def test_the_lock_is_held_before_much_is_asked(vm, tmp_path):
    """Whoever holds the lock of a QEMU keeps another out, and that costs it three questions."""

    async def work():
        counted = Counted(await connect(str(vm.qmp_path)))
        met = await meet(counted, Store(tmp_path), str(vm.qmp_path))
        names = names_of(met.instance, met.facts.vm_uuid, met.facts.vm_name)
        counted.sent.clear()
        async with snapplan.attach(counted, store=tmp_path, address=str(vm.qmp_path)) as attached:
            with locked_names(names), pytest.raises(Refused) as refused:
                await attached.collect()
            return refused.value.code, counted.sent

    code, sent = asyncio.run(work())
    assert code == "vm-locked"
    assert sent == Counter(["query-uuid", "query-name", "query-cpus-fast"])
