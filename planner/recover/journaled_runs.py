"""A load or a delete with its journal: begun, settled, and gone on with after a crash.

A load goes on to its end where its job had begun, and is taken back where it had not; a delete is always
finished.  Unlike a run that makes a snapshot, neither needs its journal once its end is known: what a
load left half done only another load puts right, and a delete is finished by another delete.
"""

from __future__ import annotations

import hashlib
import time
from importlib.metadata import version
from pathlib import Path

from attrs import evolve

from planner.delete.delete_checks import DeletePlan
from planner.delete.deleting import DELETION
from planner.errors import BadInput, Problem, Refused
from planner.host.files import remove_file
from planner.host.processes import boot_id
from planner.load.loading import LoadMachine
from planner.model.facts import Facts
from planner.model.facts_text import facts_to_plain
from planner.recover.journaled_plans import JournaledPlan, journaled_plan_to_plain, machine_of
from planner.recover.replay import ReplayedPlan
from planner.run.actions import Action, HostDo, NoAnswer, NotSent, RepairImage, Response, Send
from planner.run.journal import Header, changes_something, journal_line
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.run.ports import Backend, Host, Images, JournalFailed, Reporter
from planner.run.pump import Pump
from planner.run.recorder import Recorder
from planner.store.instance import Instance
from planner.store.journal_file import JournalFile
from planner.store.store import VmIdentity, VmStore

__all__ = ["begin_order", "recover_order", "settle_order"]

_WHY = "snapplan ended before the answer was there"


def begin_order(  # noqa: PLR0913 - what a header says
    vm: VmStore,
    identity: VmIdentity,
    order: JournaledPlan,
    facts: Facts,
    *,
    instance: Instance,
    deadline_s: float | None = None,
) -> JournalFile:
    """Begin the journal of a load or a delete; nothing has been sent to the VM yet.

    Raises:
        Refused: The journal cannot be written (``journal-unwritable``).
    """
    started_ns = time.time_ns()
    run = hashlib.sha256(f"{started_ns}\0{order.tag}".encode()).hexdigest()[:12]
    header = Header(
        run=run,
        snapplan=version("snapplan"),
        address=identity.address,
        vm_uuid=identity.uuid,
        vm_name=identity.name,
        instance=instance.name,
        process=instance.process,
        socket=instance.socket,
        boot=boot_id(),
        started_ns=started_ns,
        plan=journaled_plan_to_plain(order),
        facts=facts_to_plain(evolve(facts, schema=())),
        baseline=machine_of(order).context.baseline,
        deadline_s=deadline_s,
    )
    try:
        return JournalFile.create(vm.journals / f"{run}.journal", journal_line(0, header))
    except JournalFailed as failed:
        problem = Problem("journal-unwritable", str(vm.journals), str(failed), "make room for it")
        message = f"the journal cannot be written: {failed}"
        raise Refused(message, problems=(problem,), code=problem.code) from failed


def settle_order(order: JournaledPlan, outcome: Outcome, journal: JournalFile | None) -> None:
    """Forget a deleted snapshot's manifest, then the journal, unless what became of it is unknown.

    Raises:
        BadInput: All parts are deleted, and the manifest cannot be removed (``store-unwritable``).
    """
    if isinstance(order, DeletePlan) and outcome.phase is Phase.DONE and order.manifest_file:
        _forget(Path(order.manifest_file))
    if journal is None:
        return
    if outcome.phase is not Phase.UNKNOWN:
        try:
            journal.remove()
        except JournalFailed:
            return  # `recover` finds it, sees that nothing is to be done, and removes it
    journal.close()


def _forget(path: Path) -> None:
    """The manifest goes last: as long as it is there, another delete finishes this one."""
    try:
        remove_file(path)
    except OSError as error:
        why = error.strerror or str(error)
        problem = Problem("store-unwritable", str(path), why, "remove it by hand")
        raise BadInput(
            f"all parts are deleted, and the manifest cannot be removed: {why}",
            problems=(problem,),
            code=problem.code,
            vm_state="All parts of the snapshot are deleted.",
        ) from error


async def recover_order(  # noqa: PLR0913 - each is a port of its own
    replayed: ReplayedPlan,
    file: JournalFile,
    number: int,
    *,
    backend: Backend,
    images: Images | None,
    reporter: Reporter | None = None,
    host: Host | None = None,
) -> Outcome:
    """Go on with a load or a delete whose snapplan died; the VM's lock is held.

    Args:
        replayed: Where it stands.
        file: Its journal.
        number: Of the next record.
        backend: Connected to the QEMU of the run; else one that nobody answers.
        images: Its images, where they can be reached.
        reporter: Who is told of the progress.
        host: The machine that QEMU runs on, where that is this one.
    """
    recorder = Recorder(file, number)
    machine, action = replayed.machine, replayed.action
    pump = Pump(machine, backend, images=images, host=host, reporter=reporter, recorder=recorder)
    try:
        told: Response | None = None
        if replayed.unknown and not _may_be_repeated(action):
            told = NoAnswer(_WHY, lost=True)
        elif not replayed.unknown and _begins(machine, action):
            # What had not been sent is never sent: what was looked at before is long ago.
            told = NotSent("run-killed", "snapplan ended before this was sent")
        if told is not None and not isinstance(action, Outcome):
            recorder.after(action, told, (), interrupted=False)
            action = machine.tell(told)
        if isinstance(action, Outcome) and action.phase is Phase.UNKNOWN:
            recorder.again()
            action = machine.again()
        if isinstance(machine, LoadMachine) and not machine.begun:
            pump.interrupt()  # the guest is brought back
        outcome = await pump.go_on(action)
        settle_order(replayed.order, outcome, file)
        return outcome
    finally:
        file.close()


def _may_be_repeated(action: Action | Outcome) -> bool:
    """Whether doing it twice is doing it once, so that it need not be known whether it was done."""
    dismisses = isinstance(action, Send) and action.command == "job-dismiss"
    return dismisses or isinstance(action, Outcome | RepairImage | HostDo)


def _begins(machine: object, action: Action | Outcome) -> bool:
    """Whether it is sent because of what was seen before; a delete looks again, and goes on."""
    if not isinstance(action, Send):
        return False
    if not isinstance(machine, LoadMachine):
        return action.command == DELETION
    if action.command in ("stop", "snapshot-load"):
        return True
    prepares = not machine.begun and machine.context.phase is Phase.STEPPING
    return prepares and changes_something(action) and action.command != "migrate_cancel"
