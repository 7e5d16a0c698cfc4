"""What QEMU does to a snapshot, down to what each image holds: an oracle by itself.

It imports nothing of `planner.compile`: it reads commands and arguments, as QEMU would, and plays
them on a small VM.  What each command does is from `specs/qemu-facts.md` (facts 4, 5, 17, 24).
"""

from dataclasses import dataclass, field

from tests.property.tiny_outside import Outside, PlaysOutside


@dataclass
class Image:
    """One qcow2 image: what its active layer holds, and its snapshots."""

    vmstate_in_layer: bool = False
    snapshots: list = field(default_factory=list)  # (id, tag, holds vmstate, instant)


@dataclass
class Part:
    """One capture, where and when."""

    what: str  # "vmstate", "snapshot", "overlay" or "stream"
    disk: str
    instant: int
    running: bool
    step: int
    command: str


class TinyVm(PlaysOutside):
    """A VM that runs QMP steps and remembers what happened."""

    def __init__(self, facts, *, ends_running=True):
        self.version = (facts.qemu.major, facts.qemu.minor)
        self.uris = (
            {"fd"}
            if self.version < (8, 2)
            else {"file", "fd"}
            if self.version < (11, 0)
            else {"file"}
        )
        self.facts = {disk.name: disk for disk in facts.disks}
        self.by_file = {disk.filename: disk.name for disk in facts.disks}
        self.settings_before = {**facts.capabilities, **facts.parameters}
        self.outside = Outside(settings=dict(self.settings_before))
        self.was_running = facts.run_state == "running"
        self.ends_running = ends_running
        self.running = facts.run_state == "running"
        self.by_node = {disk.node: disk.name for disk in facts.disks}
        self.by_root = {disk.root: disk.name for disk in facts.disks}
        self.images = {disk.name: Image() for disk in facts.disks}
        for disk in facts.disks:
            olds = [(s.id, s.name, s.vm_state_size_bytes > 0, -1) for s in disk.snapshots]
            self.images[disk.name].snapshots = olds
        self.instant = 0
        self.step = 0
        self.log = []  # (word, disk): everything that happened, in order
        self.parts = []
        self.faults = []

    def run(self, steps):
        """Run (command, arguments) pairs."""
        for number, (command, arguments) in enumerate(steps, start=1):
            self.step = number
            self.command = command
            handler = getattr(self, "do_" + command.replace("-", "_"), None)
            if handler is None:
                self.faults.append(f"unknown command {command}")
            else:
                handler(arguments)
            if self.running:
                self.instant += 1
        return self

    def do_stop(self, _):
        self.running = False
        self.log.append(("pause", ""))

    def do_cont(self, _):
        self.running = True
        self.instant += 1
        self.log.append(("resume", ""))
        self.guest_goes_on()

    def do_snapshot_save(self, arguments):
        nodes, vmstate = arguments["devices"], arguments["vmstate"]
        if vmstate not in nodes or any(node not in self.by_node for node in nodes):
            self.faults.append("the job fails")
            return
        was_running = self.running
        if was_running:
            self.do_stop({})
        holder = self.by_node[vmstate]
        self._capture("vmstate", holder)
        self.images[holder].vmstate_in_layer = True
        for node in nodes:
            self._snapshot(self.by_node[node], arguments["tag"])
        self.images[holder].vmstate_in_layer = False
        self.log.append(("discard", holder))
        if was_running:
            self.do_cont({})

    def do_transaction(self, arguments):
        touched = []
        for action in arguments["actions"]:
            data = action["data"]
            if action["type"] == "blockdev-snapshot":
                touched.append(self.put_overlay(data))
            elif action["type"] != "blockdev-snapshot-internal-sync":
                self.faults.append(f"unknown action {action['type']}")
            elif data["device"] not in self.by_root:
                self.faults.append("the transaction fails")
            else:
                disk = self.by_root[data["device"]]
                touched.append(disk)
                self._snapshot(disk, data["name"])
        if len(set(touched)) != len(touched):
            self.faults.append("a transaction does two things to one disk")

    def do_blockdev_snapshot_delete_internal_sync(self, arguments):
        disk = self.by_root[arguments["device"]]
        snapshots = self.images[disk].snapshots
        match = [s for s in snapshots if (s[0], s[1]) == (arguments["id"], arguments["name"])]
        if len(match) != 1:
            self.faults.append(f"{disk} has no such snapshot to delete")
            return
        snapshots.remove(match[0])
        self.log.append(("delete", disk))

    def _snapshot(self, disk, tag):
        image = self.images[disk]
        if not self.outside.active:
            self.faults.append(f"the snapshot of {disk} fails: its node is inactive")
        if any(name == tag for _, name, _, _ in image.snapshots):
            self.faults.append(f"{disk} then holds two snapshots of one name")
        image.snapshots.append(("new", tag, image.vmstate_in_layer, self.instant))
        self._capture("snapshot", disk)

    def _capture(self, what, disk):
        self.log.append((what, disk))
        self.parts.append(Part(what, disk, self.instant, self.running, self.step, self.command))

    def new(self, disk):
        """The snapshots that were made on a disk."""
        return [s for s in self.images[disk].snapshots if s[0] == "new"]


def complaints(vm, world):
    """What is wrong after a run, seen from what was asked for; empty: all is as it must be."""
    found = list(vm.faults)
    for disk, image in vm.images.items():
        wanted = 1 if disk in world.internal else 0
        if len(vm.new(disk)) != wanted:
            found.append(f"{disk} has {len(vm.new(disk))} parts instead of {wanted}")
        if any(tag != world.tag for _, tag, _, _ in vm.new(disk)):
            found.append(f"{disk} has a part of another tag")
        if any(s[2] != (disk == world.vmstate) for s in vm.new(disk)):
            found.append(f"machine state is misplaced on {disk}")
        if image.vmstate_in_layer:
            found.append(f"{disk} keeps vmstate")
    found += _order(vm, world.vmstate)
    if len({part.instant for part in vm.parts}) > 1:
        found.append("parts are of different instants")
    torn = [part for part in vm.parts if part.running]
    if torn and (world.vmstate or {part.command for part in torn} != {"transaction"}):
        found.append("a part was captured while the guest ran")
    if torn and len({part.step for part in vm.parts}) > 1:
        found.append("parts of a running guest in several commands")
    if vm.running != world.ends_running:
        found.append("the run state is not what was asked for")
    found += _deletions(vm, world)
    return found


def _order(vm, vmstate):
    if not vmstate:
        return []
    words = ["vmstate", "snapshot", "discard"]
    if any(vm.log.count((word, vmstate)) != 1 for word in words):
        return ["the vmstate is not written, snapshotted and discarded once each"]
    places = [vm.log.index((word, vmstate)) for word in words]
    return [] if places == sorted(places) else ["write, snapshot and discard are out of order"]


def _deletions(vm, world):
    found = []
    for place, (word, disk) in enumerate(vm.log):
        before = vm.log[:place]
        if word == "delete" and any(
            w == "pause" or (w != "delete" and d == disk) for w, d in before
        ):
            found.append("something is deleted in the pause, or after its disk's part was made")
    left = {(d, s[0]) for d, image in vm.images.items() for s in image.snapshots if s[0] != "new"}
    if left != world.olds_left:
        found.append("old snapshots are lost, or not replaced")
    return found
