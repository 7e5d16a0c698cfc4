"""A VM of the semantics behind the executor's ports, in process, with faults drawn from a seed.

Nothing waits here: time is virtual, so ten thousand runs take minutes.  Which faults strike, where and
in which run follows from the seed alone.
"""

import os
import random
import stat

from attrs import define, evolve, field, frozen

from backends.storage_daemon import ANSWERED_FOR_DAEMONS, answer_for_daemon
from planner.errors import CannotConnect
from planner.model.facts import SnapshotInfo
from planner.run.ports import CommandRefused, ConnectionLost, Event, NoReply
from planner.semantics import (
    InjectedFailure,
    VmState,
    advance,
    advance_background,
    advance_host,
    content_node,
    execute,
    guest_step,
    lookup,
    next_in_background,
    start,
)

__all__ = ["FAULTS", "Fault", "FaultyVm", "draw_faults"]

FAULTS = (
    "refuse",  # an error reply to a command that would have worked
    "micro-step",  # the command fails inside, at one of its micro-steps
    "drop-before",  # the connection ends before QEMU reads the command
    "drop-after",  # the connection ends after QEMU did it
    "no-reply",  # QEMU did it, and its answer does not come in time
    "die-before",
    "die-inside",  # QEMU dies between two micro-steps
    "die-after",
    "stuck",  # from here on QEMU answers nothing, on no connection
    "foreign-cont",  # another client acts just before the command
    "foreign-stop",
    "foreign-tag",  # another client makes a snapshot of the very same tag
)


@frozen
class Fault:
    """A fault strikes the n-th command that is sent; `place` says where inside."""

    kind: str
    command: int
    place: int = 0
    disk: str = "disk0"


def draw_faults(dice: random.Random, disks, commands: int):
    """No, one or two faults."""
    return [
        Fault(
            dice.choice(FAULTS),
            dice.randrange(commands),
            dice.randrange(6),
            dice.choice(disks),
        )
        for _ in range(dice.choice((0, 1, 1, 1, 2)))
    ]


@define
class FaultyVm:
    """A backend and the images of one simulated VM.

    Attributes:
        state: The VM.
        tag: What a foreign client calls its snapshot.
        faults: What is to strike.
        sent: The commands that were sent.
        foreign: (node, id) of snapshots that a foreign client made.
        armed: Whether commands count (a survey beforehand does not).
        migrates: Whether a migration goes a step on around each command.
    """

    state: VmState
    tag: str
    faults: list = field(factory=list)
    sent: list = field(factory=list)
    foreign: list = field(factory=list)
    armed: bool = False
    migrates: bool = False
    linked: bool = True
    stuck: bool = False
    events: list = field(factory=list)

    @property
    def peer_pid(self):
        return None  # no process is behind it

    @property
    def images(self):
        return None  # and its files are nowhere

    async def connect(self, timeout_s):
        del timeout_s
        if self.state.died:
            raise CannotConnect("nobody listens", code="nobody-listens")
        if self.stuck:
            raise CannotConnect("no greeting", code="no-greeting")
        self.linked = True

    async def close(self):
        self.linked = False

    def now_us(self):
        return self.state.host_ns // 1000

    def pending_events(self):
        taken, self.events = tuple(self.events), []
        return taken

    async def wait_for_event(self, timeout_s):
        if not self.linked:
            raise ConnectionLost("the connection is gone")
        if not self.events:
            raise NoReply(f"no event within {timeout_s} s")

    async def execute(self, command, arguments, timeout_s):
        del timeout_s
        if self.state.machine.daemon and command in ANSWERED_FOR_DAEMONS:
            return await answer_for_daemon(self._ask, command, arguments)
        return await self._ask(command, arguments)

    async def _ask(self, command, arguments):
        if not self.linked or self.state.died:
            self.linked = False
            raise ConnectionLost("the connection is gone")
        if self.stuck:
            raise NoReply("no answer in time")
        if not self.armed:
            return self._plain(command, arguments)
        number = len(self.sent)
        self.sent.append(command)
        striking = [fault for fault in self.faults if fault.command == number]
        for fault in striking:
            self._before(fault)
        self._guest_works()
        inside = [f for f in striking if f.kind in ("micro-step", "die-inside")]
        try:
            return self._run(command, arguments, inside[0] if inside else None)
        finally:
            self._guest_works()
            self._after(striking)

    def _before(self, fault):
        match fault.kind:
            case "refuse":
                raise CommandRefused("GenericError", "injected")
            case "drop-before":
                self._lose()
            case "die-before":
                self._die()
            case "stuck":
                self.stuck = True
                raise NoReply("no answer in time")
            case "foreign-cont":
                self._emit(self._foreign("cont", {}))
            case "foreign-stop":
                self._emit(self._foreign("stop", {}))
            case "foreign-tag":
                self._foreign_tag(fault.disk)

    def _after(self, striking):
        for fault in striking:
            if fault.kind == "drop-after":
                self._lose()
            elif fault.kind == "die-after":
                self._die()
            elif fault.kind == "no-reply":
                raise NoReply("no answer in time")

    def _lose(self):
        self.linked = False
        self.events.clear()
        raise ConnectionLost("the connection ended")

    def _die(self):
        if not self.state.died:
            self.state = evolve(self.state, died="killed", pending=(), background=())
        self._lose()

    def _foreign(self, command, arguments):
        result = execute(self._ticked(), command, arguments)
        self.state = result.state
        return result.events

    def _foreign_tag(self, disk):
        node = self._node(disk)
        before = {part.id for part in node.layer.snapshots}
        device = "blockdev-snapshot-internal-sync"
        self._emit(self._foreign(device, {"device": disk, "name": self.tag}))
        after = {part.id for part in self._node(disk).layer.snapshots}
        self.foreign += [(node.name, new) for new in after - before]

    def _node(self, disk):
        return content_node(self.state.graph, lookup(self.state, disk))

    async def execute_with_descriptor(self, command, arguments, descriptor, timeout_s):
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            self.state = evolve(self.state, sockets=self.state.sockets | {arguments["fdname"]})
        return await self.execute(command, arguments, timeout_s)

    def _guest_works(self):
        self.state = guest_step(self._ticked())
        if self.migrates and next_in_background(self.state):
            done = advance_background(self.state)
            self.state = done.state
            self._emit(done.events)

    def _ticked(self):
        return advance_host(self.state, 1_000_000)

    def _plain(self, command, arguments):
        return self._answer(execute(self.state, command, arguments))

    def _run(self, command, arguments, fault):
        result = start(self._ticked(), command, arguments)
        self.state = result.state
        self._emit(result.events)
        reply, error, place = result.reply, result.error, 0
        while self.state.pending:
            if fault is not None and place == fault.place and fault.kind == "die-inside":
                self._die()
            strikes = fault is not None and place == fault.place and fault.kind == "micro-step"
            done = advance(self._ticked(), InjectedFailure() if strikes else None)
            self.state = done.state
            self._emit(done.events)
            reply = done.reply if reply is None else reply
            error = error or done.error
            place += 1
            if self.state.died:
                self._lose()
        if error is not None:
            raise CommandRefused(error.error_class, error.desc)
        return reply

    def _answer(self, result):
        self.state = result.state
        self._emit(result.events)
        if result.error is not None:
            raise CommandRefused(result.error.error_class, result.error.desc)
        return result.reply

    def _emit(self, events):
        at = self.state.host_ns // 1000
        self.events += [Event(event.name, dict(event.data), at) for event in events]

    # --- the images of a VM that is gone ---

    async def snapshots(self, filename):
        node = self._by_file(filename)
        return tuple(
            SnapshotInfo(
                part.id, part.name, part.vm_clock_ns, part.vm_state_size_bytes, part.date_ns
            )
            for part in node.layer.snapshots
        )

    async def delete(self, filename, name, snapshot_id):
        node = self._by_file(filename)
        gone = (name, snapshot_id)
        keep = tuple(part for part in node.layer.snapshots if (part.name, part.id) != gone)
        layer = evolve(node.layer, snapshots=keep)
        self.state = self.state.with_nodes(evolve(node, layer=layer))

    def _by_file(self, filename):
        if not self.state.died:
            raise NoReply("the image is in use")
        found = [
            n for n in self.state.graph.nodes if n.filename == filename and n.driver == "qcow2"
        ]
        if len(found) != 1:
            raise NoReply(f"no image {filename}")
        return found[0]
