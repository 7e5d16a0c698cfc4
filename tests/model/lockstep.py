"""Driving a real QEMU and the simulated one with the same commands, and comparing all that shows.

What may differ is taken out before comparing: clocks, dates, sizes, node names that QEMU makes up,
and on which side of the reply a job's events stand (fact 4).
"""

import contextlib
import json
import random
import re
import subprocess
from collections.abc import Callable, Mapping

import attrs

from backends.simulator import SimulatedVm
from planner.semantics import DiskDescription, vm_state
from tests.support.qemu import QemuVm, qemu_img_binary, start_qemu
from tests.support.qmp import QmpError
from tests.support.topology import DiskKind, DiskSpec, Topology

KINDS = {
    "disk0": DiskKind.QCOW2,
    "disk1": DiskKind.QCOW2,
    "raw0": DiskKind.RAW,
    "ro0": DiskKind.READ_ONLY,
    "back0": DiskKind.BACKED,
    "thr0": DiskKind.FILTERED,
    "df0": DiskKind.DATA_FILE,
    "drv0": DiskKind.DRIVE,
    "free0": DiskKind.UNATTACHED,
}
SIMULATED_KIND = {"backed": "backing", "filtered": "throttle"}
OVERLAYS = ("ov0", "ov1", "ov2")
DRIVE_NODE = "#drive"
GOOD = ("disk0", "disk1", "back0", "free0", "thr0-format", DRIVE_NODE)
NODES = (
    *GOOD,
    "raw0",
    "ro0",
    "thr0",
    "df0",
    "back0-backing",
    "disk0-file",
    "nope",
    "drv0",
    *OVERLAYS,
)
ROOTS = ("disk0", "disk1", "back0", "thr0", "drv0", "free0")
TAGS = ("a", "b", "1", "2", "tag-" + "x" * 260, "")
OVERLAY_ON = ("raw0", "disk1", "thr0", "disk0", "drv0", "ov0")
CONCLUDED = ("concluded",)
ENDS_WITH = {
    "snapshot-save": CONCLUDED,
    "snapshot-load": CONCLUDED,
    "snapshot-delete": CONCLUDED,
    "block-commit": ("ready", "concluded"),
    "job-complete": ("pending", "concluded"),
    "job-finalize": CONCLUDED,
    "job-cancel": CONCLUDED,
    "transaction": CONCLUDED,
}
COMMIT_MEMBERS = {
    "auto-dismiss": (True, False),
    "auto-finalize": (True, False),
    "base-node": ("disk1", "raw0", "thr0", "thr0-format", DRIVE_NODE, "ov0", "nope"),
    "top-node": (*OVERLAYS, "nope"),
    "filter-node-name": ("flt", "flt", "disk0", "1bad"),
    "speed": (0, 0, -1),
    "backing-file": ("x",),
}
TOPOLOGY = Topology(
    disks=tuple(DiskSpec(name, kind) for name, kind in KINDS.items()), memory_mib=16
)


@attrs.frozen
class Difference:
    """One thing that the two showed differently."""

    seed: int
    command: Mapping
    what: str
    real: object
    simulated: object

    def __str__(self):
        text = (
            f"seed {self.seed}: {json.dumps(self.command)}\n  {self.what}\n"
            f"    real      {self.real}\n    simulated {self.simulated}"
        )
        return text.replace("x" * 200, "...")


def jobs_that_end(command, arguments):
    """The jobs that this command has come to an end, or begins and nothing holds up."""
    if command == "transaction":
        begun = [action["data"] for action in arguments["actions"]]
        return [data["job-id"] for data in begun if "job-id" in data and not data.get("speed")]
    return [arguments.get("job-id", arguments.get("id"))] if command in ENDS_WITH else []


class Unmodelled(Exception):
    """The simulated QEMU says that it does not know what it was asked."""


class RealSide:
    """The real QEMU."""

    def __init__(self, vm: QemuVm) -> None:
        self.vm = vm
        self.drive_node = vm.node_of("drv0")

    def run(self, command, arguments):
        mark = self.vm.qmp.mark()
        try:
            outcome = ("return", self.vm.execute(command, self._named(arguments)))
        except QmpError as error:
            outcome = ("error", error.error_class, error.desc)
        if outcome[0] == "return":
            for job_id in jobs_that_end(command, arguments):
                self.vm.wait_event(
                    "JOB_STATUS_CHANGE",
                    lambda data, job_id=job_id: (
                        data["id"] == job_id and data["status"] in ENDS_WITH[command]
                    ),
                    since=mark,
                )
        self.vm.qmp.drain()
        events = [(e["event"], e.get("data", {})) for e in self.vm.events[mark:]]
        return self.plain(outcome), self.plain(without_pauses(command, arguments, events))

    def query(self, command, **arguments):
        return self.plain(self.vm.execute(command, arguments))

    def _named(self, arguments):
        return json.loads(json.dumps(arguments).replace(DRIVE_NODE, self.drive_node))

    def plain(self, value):
        text = json.dumps(value).replace(self.drive_node, DRIVE_NODE)
        return json.loads(text.replace(str(self.vm.directory), "/images"))


class SimulatedSide:
    """The simulated one."""

    def __init__(self, version, seed) -> None:
        disks = [
            DiskDescription(name, SIMULATED_KIND.get(kind.value, kind.value))
            for name, kind in KINDS.items()
        ]
        self.vm = SimulatedVm(vm_state(version, disks), seed=seed)
        self.drive_node = next(d.node for d in self.vm.state.devices if d.name == "drv0")

    def run(self, command, arguments):
        delivery = self.vm.handle(command, self._named(arguments))
        self.vm.idle()
        reply = delivery.reply or {"error": {"class": "dead", "desc": self.vm.state.died}}
        error = reply.get("error")
        sent = (*delivery.before, *delivery.after, *self.vm.events)
        self.vm.events.clear()
        outcome = ("error", *error.values()) if error else ("return", reply["return"])
        events = [(e["event"], e.get("data", {})) for e in sent]
        return self.plain(outcome), self.plain(without_pauses(command, arguments, events))

    def query(self, command, **arguments):
        return self.plain(self.vm.execute(command, arguments))

    def _named(self, arguments):
        return json.loads(json.dumps(arguments).replace(DRIVE_NODE, self.drive_node))

    def plain(self, value):
        return json.loads(json.dumps(value).replace(self.drive_node, DRIVE_NODE))


def view(side):
    """All that a client can see of a VM and that must be the same."""
    return {
        "status": side.query("query-status"),
        "jobs": [without_progress(job) for job in side.query("query-jobs")],
        "block-jobs": [without_progress(job) for job in side.query("query-block-jobs")],
        "blocks": [
            (b["device"], b.get("qdev"), name_shown(b["inserted"]), b["inserted"]["ro"])
            for b in side.query("query-block")
        ],
        "nodes": sorted(
            node_view(node)
            for node in side.query("query-named-block-nodes", flat=True)
            if not node["node-name"].startswith("#block")
        ),
    }


def named(outcome):
    """What is shown, with one name for every node whose name QEMU makes up."""
    return json.loads(re.sub(r"#block\d+", "#block", json.dumps(outcome)))


def name_shown(inserted):
    """A node's name, but for one that QEMU makes up."""
    return named(inserted["node-name"])


def node_view(node):
    image = node["image"]
    snapshots = [(s["id"], s["name"], s["vm-state-size"] > 0) for s in image.get("snapshots", [])]
    return (
        node["node-name"],
        node["drv"],
        node["ro"],
        node.get("active"),
        "backing_file" in node,
        image["virtual-size"] if node["drv"] != "file" else "length of the file",
        snapshots,
    )


def without_pauses(command, arguments, events):
    """A commit's events without its pauses: whatever drains its nodes lets it stand by and go on."""
    begun = [arguments.get("job-id")] if command == "block-commit" else []
    begun += jobs_begun(command, arguments)
    kept = []
    for name, data in events:
        status = data.get("status") if name == "JOB_STATUS_CHANGE" else None
        pauses = status in ("standby", "paused") or (
            status in ("ready", "running") and data["id"] not in begun and not snapshots(command)
        )
        shown = name, {key: data[key] for key in data if key not in ("len", "offset")}
        if not pauses and not (status and shown in kept):
            kept.append(shown)
    return kept


def jobs_begun(command, arguments):
    """The jobs of a transaction's copies."""
    actions = arguments.get("actions", []) if command == "transaction" else []
    return [action["data"].get("job-id") for action in actions if isinstance(action, dict)]


def snapshots(command):
    """Whether it begins a job that nothing pauses."""
    return command.startswith("snapshot-")


def without_progress(job):
    if job["type"] not in ("commit", "backup"):
        return job
    progress = ("len", "offset", "current-progress", "total-progress", "busy")
    return {key: value for key, value in job.items() if key not in progress}


def without_sizes(outcome):
    if isinstance(outcome[1], dict):
        volatile = ("vm-clock-sec", "vm-clock-nsec", "date-sec", "date-nsec", "icount")
        kept = {key: value for key, value in outcome[1].items() if key not in volatile}
        if "vm-state-size" in kept:
            kept["vm-state-size"] = kept["vm-state-size"] > 0
        return [outcome[0], kept]
    return outcome


class Sequence:
    """Draws commands from a seed."""

    def __init__(self, seed: int, version: tuple[int, int]) -> None:
        self.random = random.Random(seed)
        self.version = version
        self.jobs = 0
        self.last_job = self.last_commit = "none"
        self.queue = []

    def next(self):
        if self.queue and self.random.random() < 0.6:
            return self.queue.pop(0)
        kinds = (
            [self.save] * 6
            + [self.load] * 4
            + [self.delete] * 2
            + [self.transaction] * 5
            + [self.internal] * 2
            + [self.delete_internal] * 4
            + [self.stop, self.cont, self.cont, self.dismiss]
            + [self.bad] * 2
            + [self.add_overlay, self.put_overlay, self.put_overlay, self.remove_node]
            + [self.commit, self.complete, self.complete, self.overlay_and_undo]
            + [self.overlay_by_file, self.overlay_by_file, self.human]
        )
        return self.random.choice(kinds)()

    def nodes(self, most=3):
        pool = GOOD if self.random.random() < 0.75 else NODES
        return [self.random.choice(pool) for _ in range(self.random.randint(1, most))]

    def job(self, command, **arguments):
        self.jobs += 1
        self.last_job = f"job{self.jobs}"
        if self.random.random() < 0.04:
            self.last_job = self.random.choice(("1x", "", "a b", "j_1"))
        return command, {"job-id": self.last_job, **arguments}

    def tag(self):
        return self.random.choice(TAGS if self.random.random() < 0.4 else TAGS[:2])

    def save(self):
        devices = self.nodes()
        vmstate = devices[-1] if self.random.random() < 0.93 else "disk0"
        return self.job("snapshot-save", tag=self.tag(), vmstate=vmstate, devices=devices)

    def load(self):
        devices = self.nodes(2)
        vmstate = devices[-1] if self.random.random() < 0.93 else "disk0"
        if self.version >= (10, 0):  # QEMU aborts on a load through a throttle node
            devices = [node for node in devices if node != "thr0"] or ["disk0"]
        return self.job("snapshot-load", tag=self.tag(), vmstate=vmstate, devices=devices)

    def delete(self):
        return self.job("snapshot-delete", tag=self.tag(), devices=self.nodes(2))

    def action(self):
        roll = self.random.random()
        if roll < 0.1:
            return {"type": "abort", "data": {}}
        if roll < 0.25:
            return {"type": "blockdev-snapshot", "data": self.put_overlay()[1]}
        if roll < 0.35:
            return {"type": "blockdev-snapshot-sync", "data": self.overlay_by_file()[1]}
        return {"type": "blockdev-snapshot-internal-sync", "data": self.internal()[1]}

    def transaction(self):
        arguments = {"actions": [self.action() for _ in range(self.random.randint(1, 3))]}
        if self.random.random() < 0.1:
            mode = self.random.choice(("individual", "grouped", "nonsense"))
            arguments["properties"] = {"completion-mode": mode}
        return "transaction", arguments

    def root(self):
        return self.random.choice(ROOTS if self.random.random() < 0.8 else NODES)

    def internal(self):
        return "blockdev-snapshot-internal-sync", {"device": self.root(), "name": self.tag()}

    def delete_internal(self):
        arguments = {"device": self.root()}
        if self.random.random() < 0.6:
            arguments["name"] = self.tag()
        if self.random.random() < 0.6:
            arguments["id"] = str(self.random.randint(1, 4))
        return "blockdev-snapshot-delete-internal-sync", arguments

    def stop(self):
        return "stop", {}

    def cont(self):
        return "cont", {}

    def dismiss(self):
        verb = self.random.choice(("job-dismiss", "job-dismiss", "job-cancel", "job-finalize"))
        return verb, {"id": self.random.choice((self.last_job, "none"))}

    def add_overlay(self, name=None):
        name = name or self.random.choice(OVERLAYS)
        node = self.random.choice((name, name, "disk0", "1bad"))
        file = {"driver": "file", "filename": f"@DIR@/{name}.qcow2"}
        arguments = {"driver": "qcow2", "node-name": node, "file": file, "backing": None}
        return "blockdev-add", arguments

    def overlay_and_undo(self):
        """The whole life of an overlay, with other commands between."""
        overlay, node = self.random.choice(OVERLAYS), self.random.choice(OVERLAY_ON)
        add, attach = self.add_overlay(overlay), self.put_overlay(node, overlay)
        commit = self.commit(overlay)
        self.queue += [attach, commit, self.complete(), self.complete()]
        self.queue.append(("blockdev-del", {"node-name": overlay}))
        return add

    def commit(self, device=None):
        """An overlay committed into its base, or something that cannot be."""
        device = device or self.random.choice((*OVERLAYS, "drv0", "disk1", "raw0", "thr0", "nope"))
        command, arguments = self.job("block-commit", device=device)
        self.last_commit = self.last_job
        for member, values in COMMIT_MEMBERS.items():
            if self.random.random() < 0.12:
                arguments[member] = self.random.choice(values)
        return command, arguments

    def complete(self):
        verb = self.random.choice(("job-complete",) * 3 + ("job-finalize", "job-cancel"))
        return verb, {"id": self.last_commit}

    def put_overlay(self, node=None, overlay=None):
        node = node or self.random.choice((*OVERLAY_ON, "nope"))
        overlay = overlay or self.random.choice((*OVERLAYS, "disk0", "nope"))
        return "blockdev-snapshot", {"node": node, "overlay": overlay}

    def overlay_by_file(self):
        """An overlay that QEMU makes itself; each in a file of its own."""
        self.jobs += 1
        name = self.random.choice((f"sy{self.jobs}",) * 5 + ("disk0", "1bad", "n" * 40))
        arguments = {"snapshot-file": f"@DIR@/sy{self.jobs}.qcow2", "snapshot-node-name": name}
        if self.random.random() < 0.1:
            del arguments["snapshot-node-name"]
        by = self.random.choice(("node-name", "node-name", "device"))
        names = OVERLAY_ON if by == "node-name" else ("drv0", "disk1", "nope")
        arguments[by] = self.random.choice((*names, "nope"))
        if "snapshot-node-name" not in arguments:
            arguments["node-name"] = arguments.pop(by)
        return "blockdev-snapshot-sync", arguments

    def human(self):
        line = self.random.choice(("savevm a", "loadvm a", "delvm a", "loadvm", "stop", "cont"))
        return "human-monitor-command", {"command-line": line}

    def remove_node(self):
        return "blockdev-del", {"node-name": self.random.choice((*OVERLAYS, "disk0", "nope"))}

    def bad(self):
        """One good command made bad: a member missing, of a wrong type, or unknown."""
        command, arguments = self.random.choice(
            (self.save, self.load, self.transaction, self.internal, self.add_overlay)
        )()
        arguments = dict(arguments)
        name = self.random.choice(sorted(arguments))
        change = self.random.choice(("missing", "type", "unknown", "command"))
        if change == "missing":
            del arguments[name]
        elif change == "type":
            arguments[name] = self.random.choice((1, True, None, [1], {"a": 1}, 1.5))
        elif change == "unknown":
            arguments["unknown-member"] = 1
        else:
            command += "-x"
        if command.startswith("snapshot-") and "job-id" not in arguments:
            arguments.pop("job-id", None)
        return command, arguments


def in_directory(arguments, directory):
    return json.loads(json.dumps(arguments).replace("@DIR@", directory))


def run_sequence(
    seed: int,
    length: int,
    version: tuple[int, int],
    on_command: Callable[[str], object] = lambda _command: None,
    draws: type[Sequence] = Sequence,
) -> list[Difference]:
    """One sequence on a fresh real QEMU and a fresh simulated one; what they showed differently."""
    sequence = draws(seed, version)
    with start_qemu(TOPOLOGY) as vm:
        for name in OVERLAYS:
            create = ["create", "-q", "-f", "qcow2", str(vm.directory / f"{name}.qcow2"), "8M"]
            subprocess.run([qemu_img_binary(), *create], check=True)
        real = RealSide(vm)
        simulated = SimulatedSide(f"{version[0]}.{version[1]}", seed)
        differences: list[Difference] = []
        for _ in range(length):
            command, arguments = sequence.next()
            on_command(command)
            try:
                differences += compare_one(seed, command, arguments, real, simulated)
            except Unmodelled:
                break  # the two are no longer the same VM
            if differences:
                break  # what comes after a difference follows from it
            for job in real.query("query-jobs"):
                if sequence.random.random() < 0.8:
                    differences += compare_one(
                        seed, "job-dismiss", {"id": job["id"]}, real, simulated
                    )
        return differences


def compare_one(seed, command, arguments, real, simulated):
    shown = {"execute": command, "arguments": arguments}
    expected = real.run(command, in_directory(arguments, str(real.vm.directory)))
    found = simulated.run(command, in_directory(arguments, "/images"))
    pairs = [
        ("outcome", without_sizes(named(expected[0])), without_sizes(named(found[0]))),
        ("events", expected[1], found[1]),
    ]
    if "the simulator does not model" in str(found[0]):
        raise Unmodelled
    with contextlib.suppress(ConnectionError):
        there, here = view(real), view(simulated)
        pairs += [(key, there[key], here[key]) for key in there]
    return [
        Difference(seed, shown, what, *only_what_differs(one, other))
        for what, one, other in pairs
        if one != other
    ]


def only_what_differs(one, other):
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        unequal = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
        return [a for a, _ in unequal], [b for _, b in unequal]
    return one, other
