"""A run with its journal, whatever it is: a save, a load or a delete.

The journal is there before the first step and goes only when nothing is left to do: after what has to
last of the run's end lasts.  What is in between, `planner.recover.recovery` goes on with.  What each
kind of run is, and how it is gone on with, that kind says itself (`Run`).
"""

from __future__ import annotations

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from attrs import evolve, frozen

from planner.errors import Problem, Refused
from planner.host.processes import boot_id
from planner.host.version import snapplan_version
from planner.model.ancestor import Ancestor
from planner.model.facts import Facts
from planner.model.facts_text import facts_to_plain
from planner.model.group_run import GroupRun
from planner.run.actions import Action, NoAnswer, RepairImage, Response, Send
from planner.run.journal import Header, journal_line
from planner.run.machine import Machine
from planner.run.observation import Baseline
from planner.run.outcome import Outcome
from planner.run.ports import JournalFailed
from planner.run.recorder import Recorder
from planner.store.current import current_of
from planner.store.instance import Instance
from planner.store.journal_file import JournalFile
from planner.store.store import VmIdentity, VmStore

__all__ = ["JournaledRun", "Run", "begin_run", "check_nothing_pending", "ends_a_job"]


class Run(ABC):
    """What is run, as a journal holds it."""

    @property
    @abstractmethod
    def tag(self) -> str:
        """The snapshot's tag."""

    @property
    @abstractmethod
    def what(self) -> str:
        """What runs, in words."""

    @property
    @abstractmethod
    def baseline(self) -> Baseline:
        """What its machine is given of the VM."""

    def becomes(self, vm: VmStore, identity: VmIdentity, started_ns: int) -> tuple[Ancestor, ...]:
        """What the VM stands on once it is done: a snapshot, then its ancestors."""
        del identity, started_ns
        return current_of(vm)

    @property
    def agent(self) -> str:
        """The guest agent's socket that it needs; empty: none."""
        return ""

    @abstractmethod
    def to_plain(self) -> dict[str, object]:
        """It as plain values, with its format's name."""

    @abstractmethod
    def machine(self, baseline: Baseline, deadline_s: float | None = None) -> Machine:
        """Its machine; from the same run and answers it asks for the same actions."""

    def record_end(self, outcome: Outcome, begun: JournaledRun) -> Path | None:
        """Write what has to last of its end; where that is, if it is a manifest."""
        del outcome, begun
        return None

    @abstractmethod
    def leaves_nothing_to_do(self, outcome: Outcome) -> bool:
        """Whether its journal goes after such an end."""

    # --- for whoever goes on with it after a crash --------------------------------------------------

    def informed(self, vm: VmStore) -> Run:
        """It, knowing what was decided outside of its journal; the VM's lock is held.

        Raises:
            BadInput: That cannot be read; nothing is to be done then.
        """
        del vm
        return self

    def files(self) -> Iterable[str]:
        """The files that it makes or removes."""
        return ()

    def repaired(self, filenames: Mapping[str, str]) -> set[str]:
        """The images that are written to or removed where QEMU is gone, of all that its VM had."""
        return set(filenames.values())

    def check_disks(self, machine: Machine, facts: Facts) -> None:
        """Raise `VmChanged` where a part of it cannot be looked for on its VM any more."""
        del machine, facts

    def may_be_repeated(self, action: Action) -> bool:
        """Whether an action names what it does so exactly that doing it twice is doing it once."""
        return ends_a_job(action) or isinstance(action, RepairImage)

    def told_instead(self, machine: Machine, action: Action, *, unknown: bool) -> Response | None:
        """What its machine is told of the action at which its journal ends; None: do it.

        Args:
            machine: Stands where the journal ends.
            action: What comes next.
            unknown: Whether it had been begun, so that nobody knows whether it was done.
        """
        del machine
        if unknown and not self.may_be_repeated(action):
            return NoAnswer("snapplan ended before the answer was there", lost=True)
        return None

    def held_back(self, machine: Machine, action: Action) -> Response | None:
        """What its machine is told of any action that was not begun before the crash; None: do it."""
        del machine, action
        return None

    @property
    def needs_no_vm(self) -> bool:
        """Whether it only has to be recorded, whatever has become of its VM."""
        return False

    def looks_again(self, machine: Machine) -> bool:
        """Whether what it waited for may be there by now, so that it is looked for once more."""
        del machine
        return False

    def is_given_up(self, machine: Machine) -> bool:
        """Whether it is interrupted where it stands."""
        del machine
        return False

    def begins_anew(self, outcome: Outcome, *, just_asked: bool) -> bool:
        """Whether such an end is gone on from once more; `just_asked`: the VM was asked for it now."""
        del outcome, just_asked
        return False


def ends_a_job(action: Action) -> bool:
    """Whether it dismisses a job that has ended."""
    return isinstance(action, Send) and action.command == "job-dismiss"


@frozen
class JournaledRun:
    """A run that has begun.

    Attributes:
        run: What is run.
        vm: The VM's share of the store, locked.
        journal: Its journal.
        machine: Of this run.
        address: Where the VM's socket is.
        started_ns: Host's wall clock when it began.
        becomes: What the VM stands on once it is done.
    """

    run: Run
    vm: VmStore
    journal: JournalFile
    machine: Machine
    address: str
    started_ns: int
    becomes: tuple[Ancestor, ...] = ()

    def recorder(self, number: int = 1) -> Recorder:
        """Who writes the journal of the run, from a record on."""
        return Recorder(self.journal, number)

    def settle(self, outcome: Outcome) -> Path | None:
        """Write what has to last of its end, and let the journal go where nothing is left to do.

        Returns:
            The manifest of a snapshot that is made.

        Raises:
            SnapplanError: What has to last cannot be written; the journal stays.
        """
        try:
            path = self.run.record_end(outcome, self)
            if self.run.leaves_nothing_to_do(outcome):
                with suppress(JournalFailed):  # else `recover` sees that nothing is to be done
                    self.journal.remove()
            return path
        finally:
            self.journal.close()


def begin_run(  # noqa: PLR0913 - what a header says
    vm: VmStore,
    identity: VmIdentity,
    run: Run,
    facts: Facts,
    *,
    instance: Instance,
    deadline_s: float | None = None,
    group: GroupRun | None = None,
) -> JournaledRun:
    """Begin a journal; nothing has been sent to the VM yet.

    Raises:
        Refused: The journal cannot be written (``journal-unwritable``).
    """
    started_ns = time.time_ns()
    name = hashlib.sha256(f"{started_ns}\0{run.tag}".encode()).hexdigest()[:12]
    header = Header(
        run=name,
        snapplan=snapplan_version(),
        address=identity.address,
        vm_uuid=identity.uuid,
        vm_name=identity.name,
        instance=instance.name,
        process=instance.process,
        socket=instance.socket,
        boot=boot_id(),
        started_ns=started_ns,
        plan=run.to_plain(),
        facts=facts_to_plain(evolve(facts, schema=())),
        baseline=run.baseline,
        deadline_s=deadline_s,
        becomes=run.becomes(vm, identity, started_ns),
        group=group,
    )
    try:
        journal = JournalFile.create(vm.journals / f"{name}.journal", journal_line(0, header))
    except JournalFailed as failed:
        problem = Problem("journal-unwritable", str(vm.journals), str(failed), "make room for it")
        message = f"the journal cannot be written: {failed}"
        raise Refused(message, problems=(problem,), code=problem.code) from failed
    machine = run.machine(header.baseline, deadline_s)
    address, becomes = identity.address, header.becomes
    return JournaledRun(run, vm, journal, machine, address, started_ns, becomes)


def check_nothing_pending(vm: VmStore) -> None:
    """Refuse where an earlier run left something to do.

    Raises:
        Refused: Its journal is there (``recovery-pending``).
    """
    left = vm.journal_files()
    if not left:
        return
    problems = tuple(
        Problem(
            "recovery-pending", str(path), "an earlier run did not end", "run `snapplan recover`"
        )
        for path in left
    )
    raise Refused(
        "an earlier run on this VM did not end", problems=problems, code="recovery-pending"
    )
