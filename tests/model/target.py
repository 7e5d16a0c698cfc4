"""The simulator as a target of the conformance suite: a VM for a topology, on a socket.

It runs in a thread of its own, since the harness is synchronous; it has no files, no process and no
guest's console, so a test that needs those stays with the real one.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
from pathlib import Path

import attrs

from backends.simulator import FaultRule, Simulator, parse_faults
from planner.semantics import DiskDescription, profile_of, vm_state
from tests.support.qmp import QmpClient
from tests.support.topology import Topology
from tests.support.vm import Vm

__all__ = ["SimulatorTarget", "faults_of", "state_of"]

KINDS = {"backed": "backing", "filtered": "throttle"}


def simulated_version() -> str:
    """The QEMU that is imitated: `SNAPPLAN_SIMULATED_QEMU`, else 7.2."""
    return os.environ.get("SNAPPLAN_SIMULATED_QEMU", "7.2")


def faults_of(topology: Topology) -> tuple[FaultRule, ...]:
    """What the FAULTY disks' blkdebug rules come to: writes of the machine state that fail."""
    broken = [disk.name for disk in topology.disks if disk.inject_error]
    rules = [
        {"fault": "write-error", "step": "write-vmstate", "node": name, "times": 0}
        for name in broken
    ]
    return parse_faults(rules)


def state_of(topology: Topology, version: str):
    """The state of a VM as a topology describes it."""
    disks = [
        DiskDescription(
            disk.name,
            KINDS.get(disk.kind.value, disk.kind.value),
            disk.size_bytes,
            device=disk.device,
        )
        for disk in topology.disks
    ]
    return vm_state(version, disks, run_state="prelaunch" if topology.paused else "running")


class SimulatorVm(Vm):
    """A simulated VM: it opens no files, so an image is a name and nothing more."""

    def create_image(self, name: str, image_format: str = "qcow2") -> Path:
        return self.directory / f"{name}.{image_format}"


class _Thread(threading.Thread):
    """Serves one simulated VM on two sockets until it is told to stop."""

    def __init__(self, state, faults, directory: Path) -> None:
        super().__init__(daemon=True)
        self.state, self.faults, self.directory = state, faults, directory
        self.ready = threading.Event()
        self.loop, self.stop = None, None

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
        async with Simulator(self.state, faults=self.faults) as simulator:
            simulator.listen(self.directory / "qmp")
            simulator.listen(self.directory / "tool")
            self.ready.set()
            await self.stop.wait()

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.join(10)


@attrs.define
class SimulatorTarget:
    """Starts simulated VMs for one test and ends them all after it."""

    _running: contextlib.ExitStack = attrs.field(factory=contextlib.ExitStack, init=False)

    @staticmethod
    def version() -> tuple[int, int]:
        """The version that `start` gives."""
        return profile_of(simulated_version()).version[:2]

    def start(self, topology: Topology) -> Vm:
        """Start one; it lives until the test ends."""
        directory = Path(tempfile.mkdtemp(prefix="sp-"))
        self._running.callback(shutil.rmtree, directory)
        state = state_of(topology, simulated_version())
        thread = _Thread(state, faults_of(topology), directory)
        thread.start()
        self._running.callback(thread.end)
        thread.ready.wait(10)
        qmp = QmpClient(directory / "qmp")
        self._running.callback(qmp.close)
        return SimulatorVm(topology, directory, qmp, directory / "tool")

    def close(self) -> None:
        """End them all."""
        self._running.close()
