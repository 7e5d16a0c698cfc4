"""What the fault tests share: a backend under the test's hands, the account of a run, the judges.

What a run did is judged through the test's own QMP connection, by the guest, and on the images,
never by what snapplan says of it.
"""

import asyncio
import math
import subprocess
from collections.abc import Awaitable, Callable, Mapping

import attrs

from backends.qemu import QemuBackend
from planner.compile.plan import compile_request
from planner.errors import RunFailed
from planner.model.request_text import read_request
from planner.present.outcome_view import outcome_to_plain
from planner.present.words import error_to_plain
from planner.run.ports import ConnectionLost
from planner.run.pump import HostClock, Pump, ask_facts
from planner.save.save_machine import SaveMachine
from tests.live.runs import held, image_node, request_text
from tests.support import guest
from tests.support.qemu import QemuVm, qemu_img_binary
from tests.support.topology import Topology, two_disks

__all__ = [
    "DESIGNS",
    "STEPS",
    "Account",
    "MeddlingBackend",
    "assert_guest_unharmed",
    "assert_images",
    "assert_loads",
    "assert_nothing_left",
    "request",
    "start",
    "through_library",
]

DESIGNS = ("monolithic", "transactional")
STEPS = (
    ("monolithic", "snapshot-save"),
    ("transactional", "stop"),
    ("transactional", "snapshot-save"),
    ("transactional", "transaction"),
    ("transactional", "cont"),
)


def start(qemu, topology: Topology | None = None) -> QemuVm:
    """A VM (two qcow2 disks unless told) whose guest works."""
    vm = qemu.start(topology or two_disks(guest=True))
    vm.wait_guest(1)
    return vm


def request(*disks: str) -> str:
    """Save as `a`, with the machine state in disk0; disk0 and disk1 unless told."""
    return request_text("a", disks or ("disk0", "disk1"), "disk0")


@attrs.frozen
class Account:
    """What snapplan says of a run: its exit code, the JSON of `--json`, its standard error."""

    exit_code: int
    said: Mapping
    stderr: str = ""

    @property
    def code(self) -> str:
        """The stable code of the error."""
        return self.said["error"]["code"]

    @property
    def problem_codes(self) -> set[str]:
        """The stable codes of all problems."""
        return {problem["code"] for problem in self.said["error"]["problems"]}


Meddle = Callable[["MeddlingBackend"], Awaitable[None]]


STOPS_BY = "snapplan-none-"
"""Tags of loads that find nothing: they only stop the guest (fact 76)."""


class MeddlingBackend(QemuBackend):
    """The real backend, with one thing done once: before, while or after a command is answered.

    While: QEMU has been sent the command, and nobody has read its answer.
    """

    def __init__(self, address, command: str = "", when: str = "", meddle: Meddle | None = None):
        super().__init__(address)
        self.struck = False
        self.patience_s = math.inf
        self._place = (command, when)
        self._meddle = meddle

    def cut(self) -> None:
        """Cut the connection, as a broken network would."""
        if self._client is not None:
            self._client._writer.transport.abort()

    async def execute(self, command, arguments, timeout_s):
        stops = str(arguments.get("tag", "")).startswith(STOPS_BY)
        if self.struck or command != self._place[0] or stops:
            return await super().execute(command, arguments, min(timeout_s, self.patience_s))
        self.struck = True
        when = self._place[1]
        if when == "before":
            await self._meddle(self)
        patience_s = min(timeout_s, self.patience_s)
        sending = asyncio.ensure_future(super().execute(command, arguments, patience_s))
        if when == "while":
            await asyncio.sleep(0)
            await self._client._outgoing.join()
            await self._meddle(self)
        reply = await sending
        if when == "after":
            await self._meddle(self)
            raise ConnectionLost("the test cut the connection before the answer was read")
        return reply


def through_library(
    vm: QemuVm,
    text: str,
    design: str = "auto",
    *,
    backend: QemuBackend | None = None,
    reporter=None,
) -> Account:
    """The same through a Pump."""
    return asyncio.run(_through_library(vm, text, design, backend, reporter))


async def _through_library(vm, text, design, backend, reporter) -> Account:
    backend = backend or QemuBackend(str(vm.qmp_path))
    await backend.connect(10.0)
    try:
        facts = await ask_facts(backend)
        program = compile_request(read_request(text), facts, design).program
        clock = HostClock()
        pump = Pump(
            SaveMachine.on(program, facts),
            backend,
            images=backend.images,
            clock=clock,
            reporter=reporter,
        )
        outcome = await pump.run()
    finally:
        await backend.close()
    try:
        outcome.raise_failure()
    except RunFailed as failed:
        return Account(failed.exit_code, error_to_plain(failed))
    return Account(0, outcome_to_plain(program, outcome))


def assert_nothing_left(vm: QemuVm) -> None:
    """No disk holds a snapshot, no job is there, and the guest goes on; then the images are sound."""
    empty = {disk.name: [] for disk in vm.topology.disks}
    assert held(vm, empty) == empty
    assert vm.execute("query-jobs") == []
    assert_guest_unharmed(vm)
    assert_images(vm, empty)


def assert_guest_unharmed(vm: QemuVm) -> None:
    """It runs, and goes on from here without a complaint."""
    assert vm.status() == "running"
    vm.wait_guest(2, since=len(vm.console()))
    assert guest.failures(vm.console()) == []


def assert_loads(vm: QemuVm, account: Account, *, beats: int = 3) -> None:
    """All parts that the account names load as one, and the guest goes on from that instant."""
    parts = account.said["parts"]
    holders = [part for part in parts if part["vm-state-size"] != "0"]
    assert len(holders) == 1
    assert len({part["vm-clock-ns"] for part in parts}) == 1
    # snapplan calls the disk under a named filter by its image's node, the topology by the filter's.
    nodes = {part["disk"]: image_node(vm, part["disk"].removesuffix("-format")) for part in parts}
    vm.execute("stop")
    loaded_at = len(vm.console())
    tag = account.said["tag"]
    assert vm.load(tag, [*nodes.values()], nodes[holders[0]["disk"]]) is None
    vm.execute("cont")
    counters = vm.wait_guest(beats, since=loaded_at)
    assert counters == sorted(set(counters)), "it counts up, without a complaint"


def assert_images(vm: QemuVm, expected: Mapping[str, list[str]], *, leaks_allowed=()) -> None:
    """After the VM is gone, each image is sound and holds exactly these tags."""
    if vm.process.poll() is None:
        vm.end()
    for disk, tags in expected.items():
        found = vm.check_image(disk)
        assert found["corruptions"] == 0, disk
        if disk not in leaks_allowed:
            assert found["leaks"] == 0, disk
        assert listed_tags(vm, disk) == tags, disk


def listed_tags(vm: QemuVm, disk: str) -> list[str]:
    """What `qemu-img snapshot -l` shows."""
    done = subprocess.run(
        [qemu_img_binary(), "snapshot", "-l", vm.image(disk)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split()[1] for line in done.stdout.splitlines()[2:]]
