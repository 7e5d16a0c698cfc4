"""A simulated QEMU for the tests of a tool that speaks QMP: no QEMU, no root, no images.

    from snapplan.testing import simulated_qemu

    def test_backup_takes_a_snapshot():
        with simulated_qemu(["disk0", "disk1"], qemu="10.0") as vm:
            my_tool.snapshot(socket=vm.socket, tag="nightly")
            assert vm.tags("disk0") == ["nightly"]
            assert "snapshot-save" in vm.commands()

In pytest the fixture `simulated_qemu` (the wheel brings it, as a plugin) starts them, and ends them
after the test.  The VM lives in a thread of its own and outlives connections; what it answers is QEMU's,
to the words (`specs/simulator.md` has where it is not).
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.simulator import FaultRule, Simulator, parse_faults
from planner.semantics import DiskDescription, VmState, vm_state

__all__ = ["SimulatedQemu", "simulated_qemu"]

_PATIENCE_S = 30.0


class SimulatedQemu(threading.Thread):
    """A simulated VM on its sockets.

    Attributes:
        sockets: Where it listens; each serves one client at a time, as QEMU's do.
        log: What it received and answered so far, as `simulate --log` writes it: `received` is the
            command, `answer` the reply, `events` their names.
    """

    def __init__(
        self, state: VmState, sockets: Sequence[Path], faults: Sequence[FaultRule]
    ) -> None:
        super().__init__(daemon=True, name="simulated-qemu")
        self.sockets = tuple(sockets)
        self.log: list[dict[str, Any]] = []
        self._state = state
        self._faults = faults
        self._listening = threading.Event()
        self._problem: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends = asyncio.Event()
        self._simulator: Simulator | None = None

    @property
    def socket(self) -> Path:
        """The first of its sockets."""
        return self.sockets[0]

    @property
    def run_state(self) -> str:
        """What `query-status` would say; `died` once it is gone."""
        return "died" if self._vm_state.died else self._vm_state.run_state

    def tags(self, node: str) -> list[str]:
        """The tags of the internal snapshots that a node holds, in QEMU's order.

        Raises:
            KeyError: It has no such node.
        """
        found = self._vm_state.graph.get(node)
        if found is None:
            raise KeyError(node)
        return [snapshot.name for snapshot in found.layer.snapshots]

    def commands(self) -> list[str]:
        """The names of the commands that it received, in order; what was none is left out."""
        received = (entry["received"] for entry in tuple(self.log))
        return [
            each["execute"] for each in received if isinstance(each, dict) and "execute" in each
        ]

    def kill(self) -> None:
        """Let it die, as by SIGKILL: its connections break, and later ones are refused."""
        if self._loop is not None and self._simulator is not None:
            self._loop.call_soon_threadsafe(self._simulator.kill)

    @property
    def _vm_state(self) -> VmState:
        return self._simulator.vm.state if self._simulator is not None else self._state

    def run(self) -> None:
        """Serve until `end`; a thread's own method, not to be called."""
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits for us
            self._problem = error
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with Simulator(self._state, faults=self._faults, log=self.log.append) as simulator:
            for place in self.sockets:
                simulator.listen(place)
            self._simulator = simulator
            self._listening.set()
            await self._ends.wait()

    def wait_listening(self) -> None:
        """Wait until clients can connect.

        Raises:
            BadInput: It cannot listen there.
            RuntimeError: It does not begin.
        """
        if not self._listening.wait(_PATIENCE_S):
            raise RuntimeError("the simulated QEMU does not begin")
        if self._problem is not None:
            raise self._problem

    def end(self) -> None:
        """End it in good order; its sockets go too."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._ends.set)
        self.join(_PATIENCE_S)


@contextlib.contextmanager
def simulated_qemu(
    disks: Iterable[str | DiskDescription] | VmState = ("disk0",),
    *,
    qemu: str = "10.0",
    sockets: int = 1,
    faults: Iterable[Mapping[str, object]] = (),
    running: bool = True,
) -> Iterator[SimulatedQemu]:
    """A simulated VM that listens while the context lasts.

    Args:
        disks: Node names of writable qcow2 disks, or descriptions (`planner.semantics`), or a state.
        qemu: Which QEMU it is: "7.2", "10.0" or "11.1".
        sockets: How many QMP sockets it has.
        faults: What goes wrong and when, as rules of `specs/simulator.md`.
        running: Whether its guest runs at first.

    Raises:
        BadInput: A version that is not modelled, or a rule that cannot strike.
    """
    state = disks
    if not isinstance(state, VmState):
        listed = [DiskDescription(each) if isinstance(each, str) else each for each in state]
        state = vm_state(qemu, listed, run_state="running" if running else "prelaunch")
    folder = Path(tempfile.mkdtemp(prefix="sp-"))  # short: a unix socket's path ends at 107
    places = [folder / ("qmp" if not number else f"qmp{number}") for number in range(sockets)]
    vm = SimulatedQemu(state, places, parse_faults(list(faults)))
    try:
        vm.start()
        try:
            vm.wait_listening()
            yield vm
        finally:
            vm.end()
    finally:
        shutil.rmtree(folder)
