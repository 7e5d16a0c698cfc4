"""A save as a journal holds it: its manifest when it is done, and how it is gone on with after a crash.

What had not been sent is never sent: the run goes on to its end only where every step had been applied,
else it is undone.  One exception: where all is captured and the guest goes on, and copies alone were
waited for, those that QEMU says are whole are closed and named; where one is still at work it is
cancelled, and the run undone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, frozen

from planner.compile.plan import Plan
from planner.compile.plan_text import plan_from_plain, plan_to_plain
from planner.errors import BadInput, Problem, UndoIncomplete, VmChanged
from planner.group.records import GroupStore
from planner.host.evidence import with_records
from planner.host.left_out import with_left_out
from planner.model.ancestor import Ancestor
from planner.model.facts import Facts
from planner.model.facts_text import facts_from_plain
from planner.model.group_run import GroupRun
from planner.program.gates import Gate
from planner.run.actions import (
    Action,
    AtGate,
    AwaitEvent,
    NoAnswer,
    NotSent,
    Poll,
    Response,
    Returned,
)
from planner.run.journal import Header, changes_something
from planner.run.leftovers import files_of
from planner.run.machine import Machine
from planner.run.observation import Baseline, baseline_of
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.save.recording import manifest_of
from planner.save.save_machine import SaveMachine
from planner.store.current import ancestors_now, set_current
from planner.store.finding import is_here
from planner.store.identity import VmIdentity
from planner.store.instance import Instance
from planner.store.journaled import JournaledRun, Run, begin_run, ends_a_job
from planner.store.makings import give_up_template
from planner.store.meeting import gone_disks
from planner.store.store import VmStore

__all__ = ["SaveRun", "begin_save"]


@frozen
class SaveRun(Run):
    """A save.

    Attributes:
        plan: What is run.
        facts: The VM just before; read from a journal, without the schema.
        digest: Whether frozen images are read in the end, and their digests recorded.
        group: The run of a group that it is a member of; None: of none.
        committed: Whether that group has decided that its snapshot is made.
    """

    plan: Plan
    facts: Facts
    digest: bool = False
    group: GroupRun | None = None
    committed: bool = False

    @classmethod
    def read(cls, header: Header, source: str) -> SaveRun:
        """The save that a journal holds; its plan is proved anew."""
        return cls(
            plan_from_plain(dict(header.plan), source),
            facts_from_plain(dict(header.facts), source),
            group=header.group,
        )

    def informed(self, vm: VmStore) -> SaveRun:
        """It, knowing what its group has decided."""
        if self.group is None:
            return self
        return evolve(self, committed=GroupStore.beside(vm).is_committed(self.group))

    @property
    def tag(self) -> str:
        """See `Run.tag`."""
        return self.plan.request.tag

    @property
    def what(self) -> str:
        """See `Run.what`."""
        member = "" if self.group is None else f", of group {self.group.group!r}"
        return f"apply {self.tag!r} ({self.plan.program.design}{member})"

    @property
    def baseline(self) -> Baseline:
        """See `Run.baseline`."""
        return baseline_of(self.facts)

    def becomes(self, vm: VmStore, identity: VmIdentity, started_ns: int) -> tuple[Ancestor, ...]:
        """This snapshot, then what the VM stands on now."""
        return (Ancestor(self.tag, started_ns), *ancestors_now(vm, identity, self.tag))

    @property
    def agent(self) -> str:
        """See `Run.agent`."""
        freeze = self.plan.program.resolution.freeze
        return "" if freeze is None else freeze.agent

    def to_plain(self) -> dict[str, object]:
        """See `Run.to_plain`."""
        return plan_to_plain(self.plan)

    def machine(self, baseline: Baseline, deadline_s: float | None = None) -> Machine:
        """See `Run.machine`."""
        gated = self.group is not None
        return SaveMachine.of(self.plan.program, baseline, deadline_s, gated=gated)

    def record_end(self, outcome: Outcome, begun: JournaledRun) -> Path | None:
        """Write the manifest of a snapshot that is made, and that the VM stands on it.

        Raises:
            UndoIncomplete: It is whole, and one of the two cannot be written.
        """
        if outcome.phase is not Phase.DONE:
            return None
        made = manifest_of(
            self.plan,
            self.facts,
            outcome,
            address=begun.address,
            started_ns=begun.started_ns,
            ended_ns=time.time_ns(),
            ancestors=begun.becomes[1:],
            group=self.group,
        )
        # Over TCP the VM's files may be another machine's.
        here = is_here(begun.address)
        manifest = with_records(made, digest=self.digest) if here else made
        try:
            give_up_template(begun.vm, manifest.tag)
            path = begun.vm.write(manifest)
            set_current(begun.vm, manifest.lineage)
            return path
        except BadInput as error:
            problem = Problem("manifest-unwritten", manifest.tag, error.message, "make room")
            raise UndoIncomplete(
                f"the snapshot is whole, and its manifest is not written: {error.message}",
                problems=(problem,),
                code=problem.code,
                run_state=outcome.run_state,
                left=(problem,),
                pause_us=outcome.pause_us,
                vm_state=f"The VM is {outcome.run_state}; run `snapplan recover` to write the manifest.",
            ) from error

    def leaves_nothing_to_do(self, outcome: Outcome) -> bool:
        """Whether it is recorded, or wholly undone."""
        return outcome.phase in (Phase.DONE, Phase.UNDONE)

    def files(self) -> tuple[str, ...]:
        """See `Run.files`."""
        return files_of(self.plan.program)

    def repaired(self, filenames: Mapping[str, str]) -> set[str]:
        """See `Run.repaired`."""
        resolution = self.plan.program.resolution
        parts = {filenames.get(part.disk, "") for part in resolution.internal}
        own = resolution.vmstate_node
        parts |= set() if own is None else {own.temporary}
        return parts | {overlay.path for overlay in resolution.overlays}

    def check_disks(self, machine: Machine, facts: Facts) -> None:
        """See `Run.check_disks`."""
        baseline = machine.context.baseline
        gone = gone_disks(baseline, facts)
        resolution = self.plan.program.resolution
        problems = tuple(
            Problem("vm-changed", disk, f"its node {baseline.nodes[disk]} is gone", "put it back")
            for disk in (
                *(part.disk for part in resolution.internal),
                *(overlay.disk for overlay in resolution.overlays),
            )
            if disk in gone
        )
        if problems:
            message = "a disk of the run is gone from its VM, so its part cannot be looked for"
            raise VmChanged(message, problems=problems)

    def told_instead(self, machine: Machine, action: Action, *, unknown: bool) -> Response | None:
        """At a gate: what the group has decided."""
        if isinstance(action, AtGate):
            return self._at_gate(action)
        return super().told_instead(machine, action, unknown=unknown)

    def _at_gate(self, action: AtGate) -> Response:
        """Who had not come to the last gate is no member of a group that has decided to go on."""
        if self.committed and action.gate is Gate.COMMIT:
            return Returned()
        return NotSent("group-aborted", "the run of the group ended before all members were ready")

    @property
    def needs_no_vm(self) -> bool:
        """See `Run.needs_no_vm`."""
        return self.committed

    def held_back(self, machine: Machine, action: Action) -> Response | None:
        """No step is sent that had not been, but for those that close and name copies that are whole."""
        if isinstance(action, AtGate):
            return self._at_gate(action)
        if machine.context.phase is not Phase.STEPPING or ends_a_job(action):
            return None
        if changes_something(action) and not self.only_names(machine):
            return NotSent("run-killed", "snapplan ended before this was sent")
        if isinstance(action, Poll) and self.only_names(machine):
            words = "a disk is still copied, and who waited for that has ended"
            return NoAnswer(words, lost=False)
        if isinstance(action, AwaitEvent | Poll):
            return NoAnswer("what QEMU said meanwhile was not heard", lost=False)
        return None

    def only_names(self, machine: Machine) -> bool:
        """Whether all parts are captured, and copies alone have to be seen whole, closed and named."""
        return isinstance(machine, SaveMachine) and machine.only_copies_left

    def looks_again(self, machine: Machine) -> bool:
        """Once, where copies were waited for: they may be whole by now."""
        return self.only_names(machine)

    def begins_anew(self, outcome: Outcome, *, just_asked: bool) -> bool:
        """What is left may be just what had not been answered."""
        del just_asked
        return bool(outcome.left)


def begin_save(  # noqa: PLR0913 - what a header says
    vm: VmStore,
    identity: VmIdentity,
    plan: Plan,
    facts: Facts,
    *,
    instance: Instance,
    deadline_s: float | None = None,
    digest: bool = False,
    group: GroupRun | None = None,
) -> JournaledRun:
    """Begin a save with its journal; the errors are those of `begin_run`."""
    if is_here(identity.address):  # over TCP the VM's files may be another machine's
        facts = with_left_out(facts, plan.program.resolution.excluded)
    run = SaveRun(plan, facts, digest, group)
    return begin_run(
        *(vm, identity, run, facts), instance=instance, deadline_s=deadline_s, group=group
    )
