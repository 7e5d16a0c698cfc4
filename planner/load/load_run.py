"""A load as a journal holds it, and how it is gone on with after a crash.

It goes on to its end where its job had begun, and is taken back where it had not.  It does not need its
journal once its end is known: what a load left half done only another load puts right.
"""

from __future__ import annotations

from functools import cache

from attrs import evolve, frozen
from cattrs import Converter

from planner.errors import BadInput, Problem, UndoIncomplete
from planner.group.record import GroupState
from planner.group.records import GroupStore
from planner.load.load_checks import LoadedImage, LoadedPart, LoadPlan
from planner.load.load_ending import LoadOutcome
from planner.load.loading import UNFINISHED, LoadMachine
from planner.model.ancestor import Ancestor
from planner.model.file_format import FileFormat
from planner.model.group_run import GroupRun
from planner.model.strict import strict_converter, write_with_hyphens
from planner.program.gates import Gate
from planner.program.resolution import Settings
from planner.run.actions import Action, AtGate, NotSent, Response, Returned, Send
from planner.run.journal import Header, changes_something
from planner.run.machine import Machine
from planner.run.observation import Baseline
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.store.current import set_current
from planner.store.identity import VmIdentity
from planner.store.journaled import JournaledRun, Run
from planner.store.store import VmStore

__all__ = ["LOAD_PLANS", "LoadRun"]


_SELDOM = ("settings", "minds_errors", "forgets_error", "stops_by", "image", "resets")


@cache  # most commands need none of them
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (LoadedImage, LoadedPart, Settings):
        write_with_hyphens(converter, kind)
    write_with_hyphens(converter, LoadPlan, seldom=_SELDOM)
    return converter


LOAD_PLANS = FileFormat(
    "snapplan-load", 1, LoadPlan, _converter, "order-malformed", "cannot be used"
)


@frozen
class LoadRun(Run):
    """A load.

    Attributes:
        order: What to load; it passed the preflight.
        lineage: That snapshot, then its ancestors.
        group: The run of a group that it is a member of; None: of none.
        decided: What that group has decided, as far as its record says.
    """

    order: LoadPlan
    lineage: tuple[Ancestor, ...]
    group: GroupRun | None = None
    decided: GroupState = GroupState.BEGUN

    @classmethod
    def read(cls, header: Header, source: str) -> LoadRun:
        """The load that a journal holds."""
        order = LOAD_PLANS.from_plain(header.plan, source)
        return cls(order, header.becomes, header.group)

    def informed(self, vm: VmStore) -> LoadRun:
        """It, knowing what its group has decided."""
        if self.group is None:
            return self
        return evolve(self, decided=GroupStore.beside(vm).loads.state_of(self.group))

    @property
    def tag(self) -> str:
        """See `Run.tag`."""
        return self.order.tag

    @property
    def what(self) -> str:
        """See `Run.what`."""
        member = "" if self.group is None else f" (of group {self.group.group!r})"
        return f"load {self.tag!r}{member}"

    @property
    def baseline(self) -> Baseline:
        """See `Run.baseline`."""
        return LoadMachine.of(self.order).context.baseline

    def to_plain(self) -> dict[str, object]:
        """See `Run.to_plain`."""
        return LOAD_PLANS.to_plain(self.order)

    def machine(self, baseline: Baseline, deadline_s: float | None = None) -> Machine:
        """See `Run.machine`."""
        del baseline
        return LoadMachine.of(self.order, deadline_s, gated=self.group is not None)

    def becomes(self, vm: VmStore, identity: VmIdentity, started_ns: int) -> tuple[Ancestor, ...]:
        """What is loaded."""
        del vm, identity, started_ns
        return self.lineage

    def record_end(self, outcome: Outcome, begun: JournaledRun) -> None:
        """Write down what the VM stands on: nothing where disks were reverted and no load was done.

        Raises:
            UndoIncomplete: It cannot be written.
        """
        if not isinstance(outcome, LoadOutcome) or outcome.phase is Phase.UNKNOWN:
            return
        if not outcome.loaded and outcome.reverted.nothing:
            return
        try:
            set_current(begun.vm, begun.becomes if outcome.loaded else ())
        except BadInput as error:
            problem = Problem("current-unwritten", self.tag, error.message, "make room")
            raise UndoIncomplete(
                f"which snapshot the VM stands on now is not written down: {error.message}",
                problems=(problem, *outcome.left),
                code=problem.code,
                vm_state=f"The VM is {outcome.run_state}; run `snapplan recover` to write it down.",
            ) from error

    def leaves_nothing_to_do(self, outcome: Outcome) -> bool:
        """Whether what became of it is known."""
        return outcome.phase is not Phase.UNKNOWN

    def told_instead(self, machine: Machine, action: Action, *, unknown: bool) -> Response | None:
        """What had not been sent is never sent: what was looked at before is long ago."""
        if isinstance(action, AtGate):
            return self._at_gate(action)
        if not unknown and _begins(machine, action):
            return NotSent("run-killed", "snapplan ended before this was sent")
        return super().told_instead(machine, action, unknown=unknown)

    def held_back(self, machine: Machine, action: Action) -> Response | None:
        """At a gate: what the group has decided."""
        del machine
        return self._at_gate(action) if isinstance(action, AtGate) else None

    def _at_gate(self, action: AtGate) -> Response:
        if self.decided is GroupState.BEGUN:
            return NotSent("group-aborted", "the group was not loaded: no disk was reverted")
        if self.decided is GroupState.LOADED and action.gate is Gate.LOADED:
            return Returned()
        words = "the load of the group ended before all members were loaded"
        return NotSent(UNFINISHED, words)

    def is_given_up(self, machine: Machine) -> bool:
        """Where QEMU was not told to load, the guest is brought back."""
        return isinstance(machine, LoadMachine) and not machine.begun

    def begins_anew(self, outcome: Outcome, *, just_asked: bool) -> bool:
        """What became of it is asked once more."""
        return outcome.phase is Phase.UNKNOWN and not just_asked


def _begins(machine: Machine, action: Action) -> bool:
    """Whether it is sent because of what was seen before."""
    if not isinstance(action, Send) or not isinstance(machine, LoadMachine):
        return False
    if action.command in ("stop", "snapshot-load"):
        return True
    prepares = not machine.begun and machine.context.phase is Phase.STEPPING
    return prepares and changes_something(action) and action.command != "migrate_cancel"
