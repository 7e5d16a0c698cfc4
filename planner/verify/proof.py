"""Proves a program right, or says which rule it breaks and where.

The verifier takes the program alone.  It derives from each command what QEMU does
(`planner.verify.effects`), walks through that on a small picture of the VM (does the guest run, what
does each image's active layer hold, what does each snapshot hold), and checks every rule of
`specs/invariants.md` on the walk.  It shares no code with the rules' edges and none with lowering, so
a mistake there does not hide here.  It runs on every program before that is executed, and on every
program that is read from a file.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from planner.errors import Problem, Violation
from planner.model.operations import Kind, Operation
from planner.model.request import Capture, RunStateAfter
from planner.program.preparations import Preparations
from planner.program.program import Program, Step
from planner.program.resolution import Resolution
from planner.program.rule_ids import RuleId
from planner.verify.copy_walk import OF_COPY_WALK, CopyWalk
from planner.verify.effects import Names, VmBefore, effect_of
from planner.verify.frozen_walk import OF_FROZEN_WALK, FrozenWalk
from planner.verify.step_checks import covers_problems, undo_problems

__all__ = ["operations_by_step", "verify", "violations"]


def verify(program: Program) -> None:
    """Raise if a program breaks a rule.

    Raises:
        Violation: Each problem names the rule, the step and the reason.  Nothing was sent.
    """
    found = violations(program)
    if found:
        count = "1 rule" if len(found) == 1 else f"{len(found)} rules"
        raise Violation(f"the program breaks {count}", problems=found)


def violations(program: Program) -> tuple[Problem, ...]:
    """Everything that is wrong with a program, in the order of its steps; empty: it is proved."""
    walk = _ProgramWalk(program.resolution)
    for number, step in enumerate(program.steps, start=1):
        walk.take(step, f"step {number} ({step.execute})")
    walk.finish()
    return tuple(dict.fromkeys(walk.problems))


def operations_by_step(program: Program) -> tuple[tuple[Operation, ...], ...]:
    """What each step of a program does, by its command alone, in the order of the steps."""
    walk = _ProgramWalk(program.resolution)
    for number, step in enumerate(program.steps, start=1):
        walk.take(step, f"step {number} ({step.execute})")
    return tuple(walk.done)


@define
class _ProgramWalk:
    """The VM as the program changes it."""

    resolution: Resolution
    problems: list[Problem] = field(factory=list)
    names: Names = field(init=False)
    replaced: frozenset[tuple[str, str]] = field(init=False)
    running: bool = field(init=False)
    instant: int = 0
    layer_holds_vmstate: set[str] = field(factory=set)
    wrote_vmstate: set[str] = field(factory=set)
    snapshots: dict[str, int] = field(factory=dict)
    snapshot_holds_vmstate: set[str] = field(factory=set)
    deleted: set[tuple[str, str]] = field(factory=set)
    captured_at: set[int] = field(factory=set)
    preparations: Preparations = field(init=False)
    file_systems: FrozenWalk = field(init=False)
    copies: CopyWalk = field(init=False)
    streaming: str = ""
    tracking: bool = False
    streamed: int = 0
    active: bool = True
    own: str = ""
    put_away: bool = False
    added: set[str] = field(factory=set)
    switched: dict[str, int] = field(factory=dict)
    where: str = ""
    done: list[tuple[Operation, ...]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.names = Names.of(self.resolution)
        self.replaced = frozenset((old.disk, old.id) for old in self.resolution.replaced)
        self.running = self.resolution.run_state_before is RunStateAfter.RUNNING
        if self.resolution.vmstate_node is not None:
            self.own = self.resolution.vmstate_node.node
        self.preparations = Preparations(self.resolution)
        self.file_systems = FrozenWalk(self.resolution)
        self.copies = CopyWalk(self.resolution)

    def take(self, step: Step, where: str) -> None:
        self.where = where
        capabilities = self.preparations.capabilities
        moment = VmBefore(self.running, capabilities, self.streaming, self.tracking)
        effect = effect_of(step, self.resolution, self.names, moment)
        self.problems.extend(effect.problems)
        if step.execute == "blockdev-del" and step.arguments.get("node-name") == self.own:
            self._remove_node()
        ended = self.streamed > 0 or self.put_away
        self.problems.extend(self.preparations.take(step, where, ended=ended))
        self.problems.extend(self.file_systems.take(step, effect.operations, where))
        self.problems.extend(self.copies.take(step, effect.operations, where, running=self.running))
        self.problems.extend(covers_problems(step, effect, where))
        self.done.append(effect.operations)
        for operation in effect.operations:
            self._apply(operation, atomic=effect.atomic)
        if step.execute == "migrate" and not effect.operations:
            self._send_migrate()
        if self.running:
            self.instant += 1  # the guest goes on between two commands
        self.problems.extend(undo_problems(step, effect, where, self.own))

    def _report(self, rule: RuleId, message: str) -> None:
        self.problems.append(Problem(rule, self.where, message))

    def _apply(self, operation: Operation, *, atomic: bool) -> None:
        if operation.kind is Kind.SNAPSHOT_DISK:
            self._snapshot(operation, atomic=atomic)
        elif operation.kind is Kind.SWITCH_TO_OVERLAY:
            self._switch(operation, atomic=atomic)
        elif operation.kind is Kind.BEGIN_COPY:
            self._check_standing(operation, atomic=atomic)
            self._capture(operation)
        elif operation.kind in _OF_OTHER_WALKS:
            pass  # FrozenWalk's business, and CopyWalk's
        elif operation.kind in _CHANGES:
            _CHANGES[operation.kind](self, operation)
        else:
            text = f"nothing says what {operation} does"
            self.problems.append(Problem("instruction-unknown", self.where, text))

    def pause(self, _: Operation) -> None:
        """The guest stops."""
        self.running = False
        self.instant += 1

    def _capture(self, operation: Operation) -> None:
        self.captured_at.add(self.instant)
        if len(self.captured_at) > 1:
            self._report(
                RuleId.ONE_INSTANT,
                f"{operation} captures another instant than the parts before it: the guest ran",
            )

    def resume(self, operation: Operation) -> None:
        """The guest goes on, and `cont` activates the nodes (fact 29)."""
        if self.streaming == Capture.BACKGROUND and not self.tracking:
            self._report(
                RuleId.TRACKING_BEFORE_RESUME,
                f"{operation} before write tracking is seen: QEMU would save a later instant, and "
                "say nothing (fact 40)",
            )
        if self.streaming == Capture.LIVE:
            self._report(RuleId.ONE_INSTANT, f"{operation} while the stream waits for its end")
        self.running = True
        self.active = True
        self.instant += 1

    def add_overlay(self, operation: Operation) -> None:
        """QEMU gets an overlay's node."""
        if self.resolution.pauses and not self.running:
            self._report(RuleId.OVERLAY_READY, f"{operation} in the pause")
        if operation.disk not in self.preparations.images:
            self._report(RuleId.OVERLAY_READY, f"{operation} before its image is made")
        self.added.add(operation.disk)

    def add_node(self, operation: Operation) -> None:
        """QEMU gets the node that machine state has of its own."""
        if self.resolution.pauses and not self.running:
            self._report(RuleId.OVERLAY_READY, f"{operation} in the pause")
        if not self.preparations.in_set:
            self._report(RuleId.OVERLAY_READY, f"{operation} before QEMU has its image")
        self.added.add(operation.disk)

    def _remove_node(self) -> None:
        if self.own not in self.snapshot_holds_vmstate or self.own in self.layer_holds_vmstate:
            self._report(
                RuleId.COMPLETE, f"{self.own or 'a node'} is removed before its snapshot is there"
            )
        self.added.discard(self.own)
        self.put_away = True

    def _switch(self, operation: Operation, *, atomic: bool) -> None:
        disk = operation.disk
        self.switched[disk] = self.switched.get(disk, 0) + 1
        if disk not in self.added:
            self._report(RuleId.OVERLAY_READY, f"{operation} before the overlay is added")
        self._check_standing(operation, atomic=atomic)
        self._capture(operation)

    def begin_stream(self, operation: Operation) -> None:
        """A stream begins."""
        if operation.detail == Capture.BACKGROUND:
            self.tracking = True
            self._capture(operation)
            return
        if self.streaming:
            self._report(
                RuleId.NODES_ACTIVE, f"{operation} while another stream is under way (fact 34)"
            )
        self.streaming = operation.detail
        if operation.detail == Capture.STOPPED and self.running:
            self._report(RuleId.ONE_INSTANT, f"{operation} while the guest runs")

    def end_stream(self, operation: Operation) -> None:
        """A stream is complete; but for a background one the nodes are inactive then."""
        self.streamed += 1
        self.streaming = ""
        self.tracking = False
        if operation.detail == Capture.BACKGROUND:
            if self.resolution.resumes and not self.running:
                self._report(RuleId.STREAM_AFTER_RESUME, f"{operation} is waited for in the pause")
            return
        if self.running:
            self._report(RuleId.ONE_INSTANT, f"{operation} while the guest runs")
        self._capture(operation)
        self.active = False

    def _send_migrate(self) -> None:
        # A background capture: its instant is that of this command, whenever it is seen to have begun.
        if self.streaming:
            self._report(RuleId.NODES_ACTIVE, "migrate while another stream is under way (fact 34)")
        if self.running:
            self._report(RuleId.ONE_INSTANT, "migrate in the background while the guest runs")
        self.streaming = Capture.BACKGROUND
        self.tracking = False

    def _check_standing(self, operation: Operation, *, atomic: bool) -> None:
        if self.running and not atomic:
            self._report(
                RuleId.ONE_INSTANT, f"{operation} while the guest runs, in no atomic command"
            )
        if self.running and self.resolution.has_machine_state:
            self._report(RuleId.ONE_INSTANT, f"{operation} while the guest runs")

    def write_vmstate(self, operation: Operation) -> None:
        """The machine state goes into an active layer."""
        disk = operation.disk
        if self.running:
            self._report(RuleId.ONE_INSTANT, f"{operation} while the guest runs")
        if disk == self.own != "" and disk not in self.added:
            self._report(RuleId.OVERLAY_READY, f"{operation} before the node is added")
        if disk in self.snapshots:
            self._report(
                RuleId.VMSTATE_BEFORE_SNAPSHOT,
                f"{operation} after the disk was snapshotted: the snapshot holds no machine state",
            )
        self.layer_holds_vmstate.add(disk)
        self.wrote_vmstate.add(disk)
        self._capture(operation)

    def _snapshot(self, operation: Operation, *, atomic: bool) -> None:
        disk = operation.disk
        self.snapshots[disk] = self.snapshots.get(disk, 0) + 1
        if disk in self.layer_holds_vmstate:
            self.snapshot_holds_vmstate.add(disk)
        if not self.active:
            self._report(RuleId.NODES_ACTIVE, f"{operation} while the nodes are inactive (fact 29)")
        self._check_standing(operation, atomic=atomic)
        self._capture(operation)

    def discard(self, operation: Operation) -> None:
        """The machine state leaves an active layer."""
        disk = operation.disk
        if disk not in self.snapshot_holds_vmstate:
            self._report(
                RuleId.SNAPSHOT_BEFORE_DISCARD,
                f"{operation} before any snapshot holds the vmstate: it would be lost",
            )
        self.layer_holds_vmstate.discard(disk)

    def delete(self, operation: Operation) -> None:
        """A snapshot from before goes."""
        key = (operation.disk, operation.detail)
        if key not in self.replaced:
            self._report(
                RuleId.OLD_UNTIL_NEW, f"{operation} deletes what the request does not give up"
            )
        captured = operation.disk in self.snapshots or operation.disk in self.wrote_vmstate
        if captured or (self.resolution.pauses and not self.running):
            self._report(
                RuleId.OLD_UNTIL_NEW, f"{operation} comes in the pause or after the capture"
            )
        self.deleted.add(key)

    def finish(self) -> None:
        """Check what must hold at the end."""
        self.where = "the whole program"
        resolution = self.resolution
        alone = (self.own,) if self.own else ()
        for disk in (*(part.disk for part in resolution.internal), *alone):
            count = self.snapshots.get(disk, 0)
            if count != 1:
                self._report(
                    RuleId.COMPLETE, f"{disk} is snapshotted {count} times instead of once"
                )
        for overlay in resolution.overlays:
            count = self.switched.get(overlay.disk, 0)
            if count != 1:
                self._report(
                    RuleId.COMPLETE, f"{overlay.disk} is frozen {count} times instead of once"
                )
        wanted = 0 if resolution.stream is None else 1
        if self.streamed != wanted or self.streaming:
            self._report(
                RuleId.COMPLETE, f"{self.streamed} streams are completed instead of {wanted}"
            )
        if not self.active:
            self._report(RuleId.ACTIVE_BEFORE_UNDO, "it leaves the nodes inactive (fact 29)")
        self.problems.extend(self.preparations.finish(self.where))
        self.problems.extend(self.file_systems.finish(self.where))
        self.problems.extend(self.copies.finish(self.where))
        for disk in sorted(self.layer_holds_vmstate):
            self._report(
                RuleId.SNAPSHOT_BEFORE_DISCARD, f"{disk} keeps vmstate in its active layer"
            )
        self._finish_machine_state()
        missing = self.replaced - self.deleted
        for disk, snapshot_id in sorted(missing):
            self._report(RuleId.COMPLETE, f"snapshot {snapshot_id} of {disk} is not replaced")
        should_run = resolution.run_state_after is RunStateAfter.RUNNING
        if self.running is not should_run:
            self._report(
                RuleId.RUN_STATE_RESTORED, f"it leaves the VM not {resolution.run_state_after}"
            )

    def _finish_machine_state(self) -> None:
        if self.own in self.added or bool(self.own) is not self.put_away:
            self._report(RuleId.COMPLETE, f"QEMU keeps the node {self.own}")
        wanted = {self.resolution.vmstate_at} if self.resolution.vmstate_at else set()
        if self.snapshot_holds_vmstate != wanted or self.wrote_vmstate - wanted:
            have = ", ".join(sorted(self.snapshot_holds_vmstate)) or "no disk"
            want = ", ".join(wanted) or "no disk"
            self._report(RuleId.COMPLETE, f"machine state is held by {have}, and wanted on {want}")


_OF_OTHER_WALKS = OF_FROZEN_WALK | OF_COPY_WALK
_CHANGES: dict[Kind, Callable[[_ProgramWalk, Operation], None]] = {
    Kind.PAUSE_GUEST: _ProgramWalk.pause,
    Kind.RESUME_GUEST: _ProgramWalk.resume,
    Kind.WRITE_VMSTATE: _ProgramWalk.write_vmstate,
    Kind.DISCARD_VMSTATE: _ProgramWalk.discard,
    Kind.DELETE_DISK_SNAPSHOT: _ProgramWalk.delete,
    Kind.ADD_OVERLAY: _ProgramWalk.add_overlay,
    Kind.ADD_VMSTATE_NODE: _ProgramWalk.add_node,
    Kind.BEGIN_STREAM_VMSTATE: _ProgramWalk.begin_stream,
    Kind.END_STREAM_VMSTATE: _ProgramWalk.end_stream,
}
