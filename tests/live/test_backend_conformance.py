"""The conformance suite for backends: snapplan's own pass it, and one that breaks a promise is found."""

import asyncio
import subprocess
import sys

import pytest

from backends.qemu import connect
from planner.library.conformance.backend import check_backend
from planner.library.conformance.checks import CHECKS
from planner.run.ports import CommandRefused, ConnectionLost, NoReply
from tests.support.outside import folder
from tests.support.storage_daemon import storage_daemon
from tests.support.topology import two_disks

pytestmark = pytest.mark.real_qemu


async def checked(address, wrap=lambda backend: backend, checks=CHECKS):
    backend = await connect(str(address))
    try:
        return await check_backend(wrap(backend), checks)
    finally:
        await backend.close()


def test_the_qemu_backend_keeps_every_promise(qemu):
    """On a VM whose guest runs, as a user calls the suite; the VM is as it was afterwards."""
    vm = qemu.start(two_disks())
    before = vm.qmp.execute("query-status")
    suite = [sys.executable, "-m", "snapplan.conformance.backend", f"qemu:{vm.qmp_path}"]
    done = subprocess.run(suite, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CHECKS) + 1} kept, 0 broken" in done.stdout
    assert vm.qmp.execute("query-status") == before


def test_it_keeps_them_on_a_storage_daemon():
    """Which has no guest; it is as it was afterwards."""
    with folder() as where, storage_daemon(where) as daemon:
        before = daemon.tags(), daemon.execute("query-block-exports")
        found = asyncio.run(checked(daemon.qmp_path))
        assert set(found.values()) == {""}, found
        assert (daemon.tags(), daemon.execute("query-block-exports")) == before


class Wrong:
    """A backend that breaks one promise."""

    def __init__(self, backend):
        self._backend = backend

    def __getattr__(self, name):
        return getattr(self._backend, name)


class Swallows(Wrong):
    """It has no refusals."""

    async def execute(self, command, arguments, timeout_s):
        try:
            return await self._backend.execute(command, arguments, timeout_s)
        except CommandRefused:
            return {}


class Repeats(Wrong):
    """It gives each event twice."""

    def pending_events(self):
        return 2 * self._backend.pending_events()


class Waits(Wrong):
    """It takes a lost connection for a silent QEMU."""

    async def wait_for_event(self, timeout_s):
        try:
            await self._backend.wait_for_event(timeout_s)
        except ConnectionLost as error:
            raise NoReply(str(error)) from error


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (Swallows, "refusals_are_refusals"),
        (Repeats, "events_come_in_order"),
        (Waits, "a_closed_connection_is_lost"),
    ],
)
def test_a_broken_promise_is_found(qemu, kind, broken):
    """Each by its name."""
    vm = qemu.start(two_disks())
    checks = [check for check in CHECKS if check.__name__ == broken]
    found = asyncio.run(checked(vm.qmp_path, kind, checks))
    assert found[broken]
