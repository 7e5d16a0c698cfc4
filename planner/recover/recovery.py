"""Goes on with a run whose snapplan died: finishes it, or undoes it.

The journal is replayed, so that the machine knows all that the run knew.  What had been begun and not
answered is told to it as unknown, and it asks the VM.  What had not been sent is never sent: the run
goes on to its end only where every step had been applied (or where copies alone are to be named, which
are whole: `planner.save.save_run`), else it is undone.  Whatever recovery does it
records in the same journal, so one that is killed is gone on with in the same way.

Three VMs can be met (`Link`): the very QEMU of the run; another QEMU with the same disks, which holds
the parts but neither the pause nor the jobs of the run; and none, whose images are repaired.  A VM that
cannot be reached for another reason is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from planner.errors import BadInput, Problem, SnapplanError
from planner.host.input import read_bytes
from planner.model.facts import Facts
from planner.recover.replay import Replayed, replay
from planner.run.actions import (
    Action,
    Poll,
    Response,
)
from planner.run.journal import Journal, read_journal
from planner.run.machine import Machine
from planner.run.outcome import Outcome
from planner.run.ports import (
    Agent,
    Backend,
    Clock,
    Host,
    Images,
    JournalFailed,
    Reporter,
)
from planner.run.pump import Pump
from planner.run.recorder import Recorder
from planner.run.stopping import to_its_end
from planner.store.journal_file import JournalFile
from planner.store.journaled import JournaledRun, Run
from planner.store.store import Store, VmStore
from planner.store.store_files import unreadable

__all__ = [
    "Link",
    "Pending",
    "Recovered",
    "pending_run",
    "pending_runs",
    "recover_run",
]


@frozen
class Pending:
    """A run that has not ended.

    Attributes:
        vm: The VM's share of the store.
        path: The journal.
        journal: What it says; None: it cannot be used.
        replayed: Where the run stands; None: it cannot be replayed.
        problems: Why not.
    """

    vm: VmStore
    path: Path
    journal: Journal | None = None
    replayed: Replayed | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def address(self) -> str:
        """Where the VM's socket was; empty where the journal cannot be used."""
        return "" if self.journal is None else self.journal.header.address


def pending_runs(store: Store) -> tuple[Pending, ...]:
    """Every run that has not ended, in order of VM and run."""
    found = (pending_run(vm, path) for vm in store.vms() for path in vm.journal_files())
    return tuple(each for each in found if each is not None)


def pending_run(vm: VmStore, path: Path) -> Pending | None:
    """The run of a journal; None: the journal is gone, so the run has ended."""
    journal = None
    if not path.exists():
        return None
    try:
        journal = read_journal(_read(path), str(path))
        return Pending(vm, path, journal, replay(journal, str(path)))
    except SnapplanError as error:
        return Pending(vm, path, journal, problems=error.problems)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise unreadable(path, error) from error


@frozen
class Link:
    """The VM as recovery meets it.

    Attributes:
        backend: Connected to the QEMU of the run; else a `planner.recover.gone.GoneVm`.
        images: The run's images; None: they cannot be reached.
        facts: Of the QEMU of the run; None where it is gone.
        host: The run's files beside the images; None: they cannot be reached.
        agent: Reaches the guest agent at an address; None: the run's guest is gone.
    """

    backend: Backend
    images: Images | None
    facts: Facts | None = None
    host: Host | None = None
    agent: Callable[[str], Agent] | None = None


@frozen
class Recovered:
    """What became of a run.

    Attributes:
        replayed: The run.
        outcome: How it has ended now.
        manifest: Its manifest, where it is done.
    """

    replayed: Replayed
    outcome: Outcome
    manifest: Path | None


class _Resuming(Pump):
    """Goes on with a run that somebody else began."""

    def __init__(self, run: Run, machine: Machine, backend: Backend, **ports: Any) -> None:
        super().__init__(machine, backend, **ports)
        self._run = run
        self._looked = False

    async def _do(self, action: Action) -> Response:
        held = self._run.held_back(self._machine, action)
        if isinstance(action, Poll) and not self._looked and self._run.looks_again(self._machine):
            self._looked, held = True, None
        return held or await super()._do(action)


async def recover_run(
    pending: Pending,
    link: Link,
    *,
    clock: Clock | None = None,
    reporter: Reporter | None = None,
) -> Recovered:
    """Finish a run, or undo it; the VM's lock is held.

    Cancelling it does not stop it: it is short, and `CancelledError` is raised when it has ended.

    Raises:
        BadInput: The journal cannot be used; nothing was sent but questions.
        VmChanged: A disk of the run is gone from its VM, so that its part cannot be looked for.
        UndoIncomplete: The snapshot is whole, and its manifest cannot be written.
    """
    return await to_its_end(_recover(pending, link, clock, reporter))


async def _recover(
    pending: Pending, link: Link, clock: Clock | None, reporter: Reporter | None
) -> Recovered:
    journal, replayed = pending.journal, pending.replayed
    if journal is None or replayed is None:
        text = f"{pending.path} cannot be used"
        raise BadInput(text, problems=pending.problems, code="journal-unusable")
    run, machine = replayed.run.informed(pending.vm), replayed.machine
    replayed = evolve(replayed, run=run)
    if link.facts is not None:
        run.check_disks(machine, link.facts)
    file = _reopen(pending.path, journal)
    header = journal.header
    address, started_ns = header.address, header.started_ns
    begun = JournaledRun(run, pending.vm, file, machine, address, started_ns, header.becomes)
    recorder = begun.recorder(len(journal.records) + 1)
    agent = link.agent(run.agent) if run.agent and link.agent is not None else None
    pump = _Resuming(
        run,
        machine,
        link.backend,
        images=link.images,
        host=link.host,
        agent=agent,
        clock=clock,
        reporter=reporter,
        recorder=recorder,
    )
    try:
        outcome = await _go_on(replayed, pump, recorder)
        return Recovered(replayed, outcome, begun.settle(outcome))
    finally:
        file.close()
        if agent is not None:
            await agent.close()


async def _go_on(replayed: Replayed, pump: Pump, recorder: Recorder) -> Outcome:
    run, machine, action = replayed.run, replayed.machine, replayed.action
    if not isinstance(action, Outcome):
        told = run.told_instead(machine, action, unknown=replayed.unknown)
        if told is not None:
            recorder.after(action, told, (), interrupted=False)
            action = machine.tell(told)
    anew = isinstance(action, Outcome) and run.begins_anew(action, just_asked=False)
    if anew:
        recorder.again()
        action = machine.again()
    if run.is_given_up(machine):
        pump.interrupt()
    outcome = await pump.go_on(action)
    if replayed.unknown and not anew and run.begins_anew(outcome, just_asked=True):
        recorder.again()
        outcome = await pump.go_on(machine.again())
    return outcome


def _reopen(path: Path, journal: Journal) -> JournalFile:
    try:
        return JournalFile.reopen(path, journal.size_bytes)
    except JournalFailed as failed:
        problem = Problem("journal-unwritable", str(path), str(failed))
        raise BadInput.of(problem) from failed
