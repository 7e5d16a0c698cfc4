"""A VM in a page: it answers the machine's actions, and faults strike where a test says.

Nothing here waits; the host's clock is a counter of microseconds.  It is no model of QEMU (that is
`planner.semantics`): it does what the two designs need, and misbehaves on request.
"""

from attrs import define, evolve, field

from planner.model.facts import SnapshotInfo
from planner.run.actions import (
    AskAgent,
    AwaitEvent,
    ErrorReply,
    ListImage,
    NoAnswer,
    Reconnect,
    RepairImage,
    Returned,
    Send,
    Tell,
)
from planner.run.observation import baseline_of
from planner.run.outcome import Outcome
from planner.run.ports import Event
from planner.save.save_machine import SaveMachine

REFUSED = ErrorReply("GenericError", "injected")
LOST = NoAnswer("the connection is gone", lost=True)
LATE = NoAnswer("no answer in time", lost=False)
DELETE = "blockdev-snapshot-delete-internal-sync"


@define
class Strike:
    """What happens at the n-th time (from 1) that a command is sent.

    Attributes:
        answer: What the machine is told; None: what the VM answers.
        done: Whether the command takes effect all the same.
        before: Called with the VM first.
        after: Called with the VM afterwards.
    """

    command: str
    answer: object = None
    nth: int = 1
    done: bool = True
    before: object = None
    after: object = None


@define
class FakeVm:
    """Disks with snapshots, a run state, a job, a connection."""

    running: bool
    nodes: dict  # node name -> snapshots
    roots: dict  # root or -drive id -> node name
    strikes: list = field(factory=list)
    job: dict | None = None
    job_error: str = ""
    alive: bool = True
    reachable: bool = True
    clock_ns: int = 1_000
    host_us: int = 1_000_000
    events: list = field(factory=list)
    sent: list = field(factory=list)
    told: list = field(factory=list)
    file_systems: int = 2
    frozen: int = 0
    asked: list = field(factory=list)  # of the agent: (command, time, bound)

    @classmethod
    def of(cls, facts, *strikes):
        live = {disk.name: facts.live_nodes.get(disk.node, disk.node) for disk in facts.disks}
        return cls(
            running=facts.run_state == "running",
            nodes={live[disk.name]: list(disk.snapshots) for disk in facts.disks},
            roots={disk.root: live[disk.name] for disk in facts.disks},
            strikes=list(strikes),
        )

    def tick(self):
        self.host_us += 1_000
        if self.running:
            self.clock_ns += 1_000

    def emit(self, name, **data):
        self.events.append(Event(name, data, self.host_us))

    def take_events(self):
        taken, self.events = self.events, []
        return taken

    def answer(self, action):
        self.tick()
        if isinstance(action, Tell):
            self.told.append(action.text)
            return Returned(0)
        if isinstance(action, AwaitEvent):
            return Returned() if self.events else LATE
        if isinstance(action, Reconnect):
            if not self.alive:
                return NoAnswer("nobody listens", lost=True, dead=True)
            return Returned() if self.reachable else LOST
        if isinstance(action, ListImage):
            return Returned(tuple(self.nodes[action.filename]))
        if isinstance(action, RepairImage):
            held = self.nodes[action.filename]
            held[:] = [s for s in held if (s.name, s.id) != (action.name, action.snapshot_id)]
            return Returned()
        if isinstance(action, AskAgent):
            self.asked.append(action)
        assert isinstance(action, Send | AskAgent)
        return self.send(action)

    def send(self, action):
        self.sent.append(action.command)
        count = self.sent.count(action.command)
        strike = next((s for s in self.strikes if (s.command, s.nth) == (action.command, count)),
                      Strike(action.command))  # fmt: skip
        if strike.before:
            strike.before(self)
        if not self.alive:
            return LOST
        arguments = getattr(action, "arguments", {})
        found = self.do(action.command, arguments) if strike.done else None
        if strike.after:
            strike.after(self)
        if not self.alive:
            return LOST
        return strike.answer or found

    def do(self, command, arguments):
        handler = getattr(self, "do_" + command.replace("-", "_"))
        found = handler(arguments)
        return found if isinstance(found, ErrorReply) else Returned(found)

    def do_guest_fsfreeze_status(self, _):
        return "frozen" if self.frozen else "thawed"

    def do_guest_fsfreeze_freeze(self, _):
        self.frozen = self.file_systems
        return self.frozen

    def do_guest_fsfreeze_thaw(self, _):
        was, self.frozen = self.frozen, 0
        return was

    def do_stop(self, _):
        if self.running:
            self.running = False
            self.emit("STOP")

    def do_cont(self, _):
        if not self.running:
            self.running = True
            self.emit("RESUME")

    def make(self, node, tag, size=0):
        ids = [int(snapshot.id) for snapshot in self.nodes[node]]
        new = SnapshotInfo(
            str(max(ids, default=0) + 1), tag, self.clock_ns, size, self.host_us * 1000
        )
        self.nodes[node].append(new)

    def do_snapshot_save(self, arguments):
        self.job = {"id": arguments["job-id"], "type": "snapshot-save", "status": "created"}
        self.job_status("created")
        was_running = self.running
        self.do_stop({})
        self.tick()
        if not self.job_error:
            for node in arguments["devices"]:
                self.make(node, arguments["tag"], 99 if node == arguments["vmstate"] else 0)
        if was_running:
            self.do_cont({})
        self.job["error"] = self.job_error
        self.job_status("concluded")

    def job_status(self, status):
        self.job["status"] = status
        self.emit("JOB_STATUS_CHANGE", id=self.job["id"], status=status)

    def do_transaction(self, arguments):
        for action in arguments["actions"]:
            self.make(self.roots[action["data"]["device"]], action["data"]["name"])

    def do_blockdev_snapshot_delete_internal_sync(self, arguments):
        held = self.nodes[self.roots[arguments["device"]]]
        found = [s for s in held if (s.id, s.name) == (arguments["id"], arguments["name"])]
        if not found:
            return ErrorReply("GenericError", "Snapshot not found")
        held.remove(found[0])
        return {}

    def do_job_dismiss(self, _):
        self.job = None

    def do_query_jobs(self, _):
        if self.job is None:
            return []
        return [{key: value for key, value in self.job.items() if value}]

    def do_query_status(self, _):
        return {"status": "running" if self.running else "paused", "running": self.running}

    def do_query_named_block_nodes(self, _):
        return [
            {"node-name": node, "image": {"snapshots": [shown(s) for s in held]}}
            for node, held in self.nodes.items()
        ]


def shown(snapshot):
    def split(name, value):
        return {f"{name}-sec": value // 10**9, f"{name}-nsec": value % 10**9}

    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "vm-state-size": snapshot.vm_state_size_bytes,
        **split("vm-clock", snapshot.vm_clock_ns),
        **split("date", snapshot.date_ns),
    }


def named_images(facts):
    """Facts whose image files are called like the nodes, as the fake VM's images are."""
    live = facts.live_nodes
    return evolve(
        facts, disks=tuple(evolve(d, filename=live.get(d.node, d.node)) for d in facts.disks)
    )


def run(program, facts, *strikes, watch=None, vm=None):
    """Run a program by hand; `watch(machine, action)` is called before each answer.

    Returns:
        The outcome and the VM.
    """
    facts = named_images(facts)
    vm = vm or FakeVm.of(facts, *strikes)
    machine = SaveMachine.of(program, baseline_of(facts))
    action = machine.start()
    for _ in range(500):
        if isinstance(action, Outcome):
            assert machine.context.phase == action.phase
            return action, vm
        if watch:
            watch(machine, action)
        response = vm.answer(action)
        action = machine.tell(response, vm.take_events())
    raise AssertionError("the run does not end")
