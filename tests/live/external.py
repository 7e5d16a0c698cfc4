"""What the tests of external parts share: requests, a VM with a raw disk, faults at a chosen step."""

import asyncio

import yaml

from backends.host import QemuHost
from backends.qemu import QemuBackend
from planner.compile.plan import compile_request
from planner.model.request_text import read_request
from planner.run.ports import CommandRefused, ConnectionLost, HostRefused, NoReply
from planner.run.pump import HostClock, Pump, ask_facts
from planner.save.save_machine import SaveMachine
from tests.live.runs import image_node
from tests.support.topology import DiskKind, DiskSpec, Topology

__all__ = ["StruckRun", "account_of", "external_request", "run_struck", "start_mixed"]

DISKS = ("disk0", "disk1")
FIRMWARE = "vars0"


def start_mixed(qemu):
    """A VM with two qcow2 disks and a raw one that a firmware could keep its variables on."""
    disks = (*map(DiskSpec, DISKS), DiskSpec(FIRMWARE, DiskKind.RAW))
    vm = qemu.start(Topology(disks, guest=True))
    vm.wait_guest(1)
    return vm


def external_request(vm, capture, tag="a", *, internal=DISKS, overlays=(FIRMWARE,)):
    """A request as text; `capture` may be `internal` (in disk0), `image` or `none` as well."""
    state = {"external": str(vm.directory / f"{tag}.state"), "capture": capture}
    disks = dict.fromkeys(internal, "internal")
    disks |= {disk: {"external": str(vm.directory / f"{tag}.{disk}.qcow2")} for disk in overlays}
    own = {"image": str(vm.directory / f"{tag}.state")}
    wanted = {"internal": {"internal": "disk0"}, "none": "none", "image": own}.get(capture, state)
    return yaml.safe_dump({"tag": tag, "machine-state": wanted, "disks": disks})


def account_of(vm):
    """Everything that a failed run must leave as it was, asked by the test's own client."""
    inserted = {b["qdev"]: b["inserted"]["node-name"] for b in vm.execute("query-block")}
    return {
        "files": sorted(path.name for path in vm.directory.iterdir()),
        "tags": {disk: vm.tags(image_node(vm, disk)) for disk in DISKS},
        "nodes": sorted(vm.nodes()),
        "inserted": inserted,
        "read-only": {name: node["ro"] for name, node in vm.nodes().items()},
        "capabilities": vm.execute("query-migrate-capabilities"),
        "bandwidth": vm.execute("query-migrate-parameters")["max-bandwidth"],
        "remembers": vm.version >= (10, 0) and vm.execute("query-migrate").get("error-desc"),
        "status": vm.status(),
        "jobs": vm.execute("query-jobs"),
    }


class _Struck:
    """Whether the step in hand is the one that is struck."""

    def __init__(self, number, how):
        self.number, self.how, self.armed, self.struck = number, how, False, False

    def step(self, number, count, what):
        del count, what
        self.armed = number == self.number

    def note(self, text):
        del text

    def amount(self, amount):
        """How far it is concerns nobody here."""

    def take(self):
        """True once, for the first thing that the struck step does."""
        taken, self.armed = self.armed, False
        self.struck = self.struck or taken
        return taken


class _Backend(QemuBackend):
    struck: _Struck

    async def execute(self, command, arguments, timeout_s):
        if not self.struck.take():
            return await super().execute(command, arguments, timeout_s)
        if self.struck.how == "refused":
            raise CommandRefused("GenericError", "the test refuses it")
        await super().execute(command, arguments, timeout_s)
        self._client._writer.transport.abort()
        raise ConnectionLost("the test cut the connection before the answer was read")

    async def execute_with_descriptor(self, command, arguments, descriptor, timeout_s):
        if self.struck.armed and self.struck.how == "refused":
            return await self.execute(command, arguments, timeout_s)
        return await super().execute_with_descriptor(command, arguments, descriptor, timeout_s)


class _Host(QemuHost):
    async def do(self, instruction, arguments, timeout_s):
        struck = self.struck.take()
        if struck and self.struck.how == "refused":
            raise HostRefused("file-unwritable", "the test refuses it")
        told = await super().do(instruction, arguments, timeout_s)
        if struck:  # it is done, and nobody was told
            raise NoReply("the test lets no answer through")
        return told


class StruckRun:
    """A run in which one step is refused (no effect), or lost (effect, and no answer)."""

    def __init__(self, plan, outcome, struck):
        self.plan, self.outcome, self.struck = plan, outcome, struck


def run_struck(vm, text, number=0, how="refused"):
    """Run a request on a VM; step `number` (from 1; 0: none) is struck."""
    struck = _Struck(number, how)

    async def work():
        link = _Backend(str(vm.qmp_path))
        link.struck = struck
        await link.connect(10.0)
        host = _Host()
        host.struck = struck
        try:
            facts = await ask_facts(link)
            plan = compile_request(read_request(text), facts)
            pump = Pump(SaveMachine.on(plan.program, facts), link, images=link.images, host=host,
                        clock=HostClock(), reporter=struck)  # fmt: skip
            return StruckRun(plan, await pump.run(), struck)
        finally:
            await link.close()

    return asyncio.run(work())
