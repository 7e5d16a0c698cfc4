"""The two VMs of a lockstep: a real QEMU and the simulated one, with the same disks.

Both answer in the same form: the outcome (``return`` and what, ``error`` with class and words, or
``dead`` and how), and the events that came with it.  A job that the command ends, or begins and nothing
holds up, is waited for: only then both are at rest, and can be compared.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from attrs import field, frozen

from backends.qemu_facts.lab.qemu import QemuVm
from backends.qemu_facts.lab.qmp import QmpClosed, QmpError
from backends.qemu_facts.lab.topology import DiskKind
from backends.simulator import SimulatedVm
from planner.errors import Problem, RunFailed
from planner.experiment.lockstep.drawing import DRIVE_NODE, KINDS, Arguments
from planner.experiment.lockstep.shown import Event, copies_begun, job_of, without_pauses
from planner.semantics import DiskDescription, vm_state

__all__ = ["DEAD", "Answer", "RealSide", "SimulatedSide", "in_directory"]

DEAD = "dead"
"""The first word of the outcome of a command that QEMU ended at."""

Answer = tuple[Any, Any]
"""A command's outcome, and its events."""

_SIMULATED_KIND = {"backed": "backing", "filtered": "throttle"}
_PATIENCE_S = 30.0
_CONCLUDED = ("concluded",)
_ENDS_WITH = {
    "snapshot-save": _CONCLUDED,
    "snapshot-load": _CONCLUDED,
    "snapshot-delete": _CONCLUDED,
    "block-commit": ("ready", "concluded"),
    "job-complete": ("pending", "concluded"),
    "job-finalize": _CONCLUDED,
    "job-cancel": _CONCLUDED,
    "transaction": _CONCLUDED,
    "blockdev-create": _CONCLUDED,
    "drive-backup": _CONCLUDED,
}
_BY_SOMEBODY = (0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
"""How a QEMU ends that was told to end: no command of ours tells it to."""


def in_directory(arguments: Arguments, directory: str) -> Arguments:
    """Arguments with the folder of the images in them."""
    filled: Arguments = json.loads(json.dumps(arguments).replace("@DIR@", directory))
    return filled


@frozen
class RealSide:
    """The real QEMU.

    Attributes:
        vm: It, running.
        until: When its time is up, in seconds of the monotonic clock.
        drive_node: The name that it has made up for the disk of `-drive`.
    """

    vm: QemuVm
    until: float = float("inf")
    drive_node: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        with self.read():
            object.__setattr__(self, "drive_node", self.vm.node_of("drv0"))

    @contextmanager
    def read(self) -> Iterator[None]:
        """Read QEMU's replies.

        Raises:
            RunFailed: One has not the shape that QEMU's schema gives it (``reply-malformed``).
        """
        try:
            yield
        except (LookupError, TypeError, AttributeError) as error:
            message = f"QEMU's reply is not in its shape: {type(error).__name__}: {error}"
            raise RunFailed.of(Problem("reply-malformed", "qemu", message)) from error

    def run(self, command: str, arguments: Arguments) -> Answer:
        """Run a command, and wait until QEMU is at rest.

        Raises:
            RunFailed: Somebody has ended QEMU (``qemu-ended``), or it closed the connection and goes on
                (``qemu-silent``).
            QmpTimeout: It does not answer.
        """
        mark = self.vm.qmp.mark()
        arguments = in_directory(arguments, str(self.vm.directory))
        try:
            outcome = self._outcome(command, arguments, mark)
        except QmpClosed:
            return (DEAD, self.how_it_ended()), []
        events = [(e["event"], e.get("data", {})) for e in self.vm.events[mark:]]
        return self._plain(outcome), self._plain(without_pauses(command, arguments, events))

    def _outcome(self, command: str, arguments: Arguments, mark: int) -> tuple[Any, ...]:
        try:
            found: Any = self.vm.execute(
                command, _named(arguments, self.drive_node), timeout_s=self._patience_s
            )
        except QmpError as error:
            self.vm.qmp.drain()
            return "error", error.error_class, error.desc
        for job_id in _jobs_that_end(command, arguments):
            self._wait_job(job_id, _ENDS_WITH[command], mark)
        self.vm.qmp.drain()
        return "return", found

    def _wait_job(self, job_id: object, ends: tuple[str, ...], mark: int) -> None:
        def ended(data: Mapping[str, object]) -> bool:
            return data["id"] == job_id and data["status"] in ends

        self.vm.wait_event("JOB_STATUS_CHANGE", ended, since=mark, timeout_s=self._patience_s)

    @property
    def _patience_s(self) -> float:
        return min(_PATIENCE_S, max(self.until - time.monotonic(), 0.0))

    def how_it_ended(self) -> str:
        """How QEMU has ended by itself, once it has closed the connection.

        Raises:
            RunFailed: It has not, or somebody has ended it.
        """
        try:
            code = self.vm.wait_death(self._patience_s)
        except subprocess.TimeoutExpired:
            message = "QEMU has closed the connection, and goes on"
            raise RunFailed.of(Problem("qemu-silent", "qemu", message)) from None
        words = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code in _BY_SOMEBODY:
            message = f"QEMU was ended from outside ({words})"
            raise RunFailed.of(Problem("qemu-ended", "qemu", message))
        said = " ".join(self.vm.stderr().split())[-200:].replace(str(self.vm.directory), "/images")
        return f"{words}: {said}" if said else words

    def query(self, command: str, **arguments: object) -> Any:
        """The reply to a question."""
        return self._plain(self.vm.execute(command, arguments, timeout_s=self._patience_s))

    def _plain(self, value: Any) -> Any:
        text = _with_drive(value, self.drive_node)
        return json.loads(text.replace(str(self.vm.directory), "/images"))


class SimulatedSide:
    """The simulated one.

    Args:
        version: The QEMU that it plays.
        seed: What it draws from where QEMU leaves things open.
        kinds: Its disks.
    """

    def __init__(
        self, version: str, seed: int, kinds: Mapping[str, DiskKind] | None = None
    ) -> None:
        disks = [
            DiskDescription(name, _SIMULATED_KIND.get(kind.value, kind.value))
            for name, kind in (KINDS if kinds is None else kinds).items()
        ]
        self.vm = SimulatedVm(vm_state(version, disks), seed=seed)
        self._drive_node = next(d.node for d in self.vm.state.devices if d.name == "drv0")

    def run(self, command: str, arguments: Arguments) -> Answer:
        """Run a command, and let everything happen that happens by itself."""
        arguments = in_directory(arguments, "/images")
        delivery = self.vm.handle(command, _named(arguments, self._drive_node))
        self.vm.idle()
        sent: list[Any] = [*delivery.before, *delivery.after, *self.vm.events]
        self.vm.events.clear()
        if delivery.reply is None:
            return (DEAD, self.vm.state.died), []
        reply: Any = delivery.reply
        error = reply.get("error")
        outcome = ("error", *error.values()) if error else ("return", reply["return"])
        events: list[Event] = [(e["event"], e.get("data", {})) for e in sent]
        return self._plain(outcome), self._plain(without_pauses(command, arguments, events))

    def query(self, command: str, **arguments: object) -> Any:
        """The reply to a question."""
        return self._plain(self.vm.execute(command, arguments))

    def _plain(self, value: Any) -> Any:
        return json.loads(_with_drive(value, self._drive_node))


def _with_drive(value: Any, node: str) -> str:
    """As JSON, with one name for the -drive's node; the number of another may begin with its number."""
    return re.sub(rf"{node}(?!\d)", DRIVE_NODE, json.dumps(value))


def _named(arguments: Arguments, drive_node: str) -> Arguments:
    named: Arguments = json.loads(json.dumps(arguments).replace(DRIVE_NODE, drive_node))
    return named


def _jobs_that_end(command: str, arguments: Arguments) -> list[object]:
    """The jobs that this command has come to an end, or begins and nothing holds up."""
    if command in ("transaction", "drive-backup"):
        begun = copies_begun(command, arguments)
        return [job_of(data) for data in begun if not data.get("speed")]
    return [arguments.get("job-id", arguments.get("id"))] if command in _ENDS_WITH else []
