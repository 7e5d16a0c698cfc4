"""What every VM offers a test, whatever is behind its socket.

Only QMP: no images, no process, no guest's console. A conformance test that keeps to this class
runs on a real QEMU and on the simulator alike.
"""

import abc
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.qemu_facts.lab.qmp import Message, QmpClient, QmpError
from backends.qemu_facts.lab.topology import Topology

__all__ = ["Snapshot", "Vm", "internal", "overlay"]


@dataclass(frozen=True)
class Snapshot:
    """One internal snapshot of one node, as `query-named-block-nodes` shows it."""

    id: str
    tag: str
    vm_state_size: int
    vm_clock_ns: int


class Vm(abc.ABC):
    """A VM behind a QMP socket.

    Attributes:
        topology: what it was started as.
        directory: where a test may let it write files (streams, overlays); private, short path.
        qmp_path: a second QMP socket, for the tool under test; nobody is connected to it.
        qmp: the test's own connection.
    """

    def __init__(self, topology: Topology, directory: Path, qmp: QmpClient, qmp_path: Path) -> None:
        self.topology = topology
        self.directory = directory
        self.qmp = qmp
        self.qmp_path = qmp_path
        self._job_numbers = itertools.count(1)

    @abc.abstractmethod
    def create_image(self, name: str, image_format: str = "qcow2") -> Path:
        """Make an empty image in `directory`, for an overlay or a target, and return its path."""

    @property
    def version(self) -> tuple[int, int]:
        """The QEMU that it is, or plays: (major, minor)."""
        return self.qmp.version

    @property
    def events(self) -> list[Message]:
        """All events so far, in QEMU's order."""
        return self.qmp.events

    def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        timeout_s: float = 30.0,
        **more: object,
    ):
        """Send one command and return its reply; see QmpClient.execute."""
        return self.qmp.execute(command, arguments, timeout_s=timeout_s, **more)

    def pass_fd(self, name: str, fd: int) -> None:
        """Give QEMU a descriptor under a name (`getfd`); the caller still closes its own."""
        command = {"execute": "getfd", "arguments": {"fdname": name}, "id": f"getfd-{name}"}
        self.qmp.send_line(json.dumps(command).encode(), fd)
        reply = self.qmp.reply_to(f"getfd-{name}")
        if reply != {}:
            raise AssertionError(f"getfd answered {reply}")

    def refusal(
        self, command: str, arguments: Mapping[str, object] | None = None, /, **more: Any
    ) -> str:
        """Send a command that must be refused, and return QEMU's words."""
        try:
            reply = self.execute(command, arguments, **more)
        except QmpError as error:
            return error.desc
        raise AssertionError(f"{command} was accepted: {reply}")

    def wait_event(
        self,
        name: str,
        predicate: Callable[[Mapping], bool] = lambda _data: True,
        *,
        since: int = 0,
        timeout_s: float = 30.0,
    ) -> Message:
        """Wait for an event; see QmpClient.wait_event."""
        return self.qmp.wait_event(name, predicate, since=since, timeout_s=timeout_s)

    def wait_until(
        self, condition: Callable[[], object], what: str, *, timeout_s: float = 30.0
    ) -> None:
        """Ask until a state without an event is reached; see QmpClient.wait_until."""
        self.qmp.wait_until(condition, what, timeout_s=timeout_s)

    def status(self) -> str:
        """The run state, in QEMU's word."""
        return self.execute("query-status")["status"]

    def new_job_id(self) -> str:
        """A job id that this VM has not seen from this class."""
        return f"test-job-{next(self._job_numbers)}"

    def run_job(
        self,
        command: str,
        *,
        tag: str,
        devices: Sequence[str],
        vmstate: str | None = None,
        job_id: str | None = None,
    ) -> str | None:
        """Run snapshot-save, -load or -delete to its end and dismiss it.

        Returns the job's error in QEMU's words, or None if it did what it was asked. `vmstate` is
        the first device unless given; snapshot-delete has none.
        """
        job_id = job_id or self.new_job_id()
        arguments = {"job-id": job_id, "tag": tag, "devices": list(devices)}
        if command != "snapshot-delete":
            arguments["vmstate"] = vmstate or devices[0]
        mark = self.qmp.mark()
        self.execute(command, arguments)
        return self.finish_job(job_id, since=mark)

    def finish_job(self, job_id: str, *, since: int = 0) -> str | None:
        """Wait until a job is concluded, dismiss it and return its error, or None."""
        self.wait_event(
            "JOB_STATUS_CHANGE",
            lambda data: data["id"] == job_id and data["status"] == "concluded",
            since=since,
        )
        error = self.job(job_id).get("error")
        self.execute("job-dismiss", id=job_id)
        return error

    def save(self, tag: str, devices: Sequence[str], vmstate: str | None = None) -> str | None:
        """Run a snapshot-save job; None, or its error."""
        return self.run_job("snapshot-save", tag=tag, devices=devices, vmstate=vmstate)

    def load(self, tag: str, devices: Sequence[str], vmstate: str | None = None) -> str | None:
        """Run a snapshot-load job; None, or its error."""
        return self.run_job("snapshot-load", tag=tag, devices=devices, vmstate=vmstate)

    def delete(self, tag: str, devices: Sequence[str]) -> str | None:
        """Run a snapshot-delete job; None, or its error."""
        return self.run_job("snapshot-delete", tag=tag, devices=devices)

    def job(self, job_id: str) -> Mapping:
        """What query-jobs says of one job."""
        return next(job for job in self.execute("query-jobs") if job["id"] == job_id)

    def transaction(self, *actions: tuple[str, Mapping[str, object]]):
        """Run one transaction of (type, data) actions."""
        return self.execute("transaction", actions=action_list(actions))

    def refused_transaction(self, *actions: tuple[str, Mapping[str, object]]) -> str:
        """Run a transaction that must be refused, and return QEMU's words."""
        return self.refusal("transaction", actions=action_list(actions))

    def snapshot_disks(self, tag: str, *devices: str) -> None:
        """Take an internal snapshot of each device in one transaction."""
        self.transaction(*(internal(device, tag) for device in devices))

    def add_overlay(self, name: str) -> None:
        """Add a node over a new image, ready for `blockdev-snapshot` to attach as an overlay."""
        self.add_node(name, backing=None)

    def add_node(self, name: str, image_format: str = "qcow2", **options: object) -> None:
        """Add a node over a new image."""
        path = self.create_image(f"{name}.{image_format}", image_format)
        file = {"driver": "file", "filename": str(path)}
        tree = {"driver": image_format, "node-name": name, "file": file}
        self.execute("blockdev-add", {**tree, **options})

    def nodes(self) -> dict[str, Mapping]:
        """All named nodes by name, without their backing chains."""
        return {node["node-name"]: node for node in self._flat_nodes()}

    def node_of(self, disk: str) -> str:
        """The name of the root node of a disk, QEMU's own name for a `-drive` disk."""
        for block in self.execute("query-block"):
            if disk in (block["device"], block.get("inserted", {}).get("node-name")):
                return block["inserted"]["node-name"]
        raise AssertionError(f"query-block knows no {disk}")

    def snapshots(self, node: str) -> list[Snapshot]:
        """The internal snapshots of a node, in QEMU's order."""
        found = self.nodes()[node]["image"].get("snapshots", [])
        return [
            Snapshot(
                id=snapshot["id"],
                tag=snapshot["name"],
                vm_state_size=snapshot["vm-state-size"],
                vm_clock_ns=snapshot["vm-clock-sec"] * 10**9 + snapshot["vm-clock-nsec"],
            )
            for snapshot in found
        ]

    def tags(self, node: str) -> list[str]:
        """The tags of a node's snapshots, in QEMU's order."""
        return [snapshot.tag for snapshot in self.snapshots(node)]

    def _flat_nodes(self) -> list[Mapping]:
        return self.execute("query-named-block-nodes", flat=True)


def internal(device: str, tag: str) -> tuple[str, Mapping[str, object]]:
    """The transaction action that takes an internal snapshot of a device or root node."""
    return "blockdev-snapshot-internal-sync", {"device": device, "name": tag}


def overlay(node: str, overlay_node: str) -> tuple[str, Mapping[str, object]]:
    """The transaction action that puts an overlay, added before, on a node."""
    return "blockdev-snapshot", {"node": node, "overlay": overlay_node}


def action_list(actions: Sequence[tuple[str, Mapping[str, object]]]) -> list[dict]:
    """The `actions` member of a transaction."""
    return [{"type": kind, "data": dict(data)} for kind, data in actions]
