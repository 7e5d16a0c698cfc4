"""A run with its journal before and its manifest after: nothing of it can be lost.

The journal is there before the first step and goes only when nothing is left to do: after the manifest
of a finished run lasts, or after everything is undone.  What is in between, `planner.recover.recovery`
goes on with.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from attrs import evolve, frozen

from planner.compile.plan import Plan
from planner.compile.plan_text import plan_to_plain
from planner.errors import BadInput, Problem, Refused, SnapplanError, UndoIncomplete
from planner.host.evidence import with_records
from planner.host.left_out import with_left_out
from planner.host.processes import boot_id
from planner.model.facts import Facts
from planner.model.facts_text import facts_to_plain
from planner.model.manifest import Manifest, ManifestPart, PartKind
from planner.run.journal import Header, journal_line
from planner.run.observation import baseline_of
from planner.run.outcome import Outcome
from planner.run.phases import Phase
from planner.run.ports import JournalFailed
from planner.run.recorder import Recorder
from planner.save.recording import manifest_of
from planner.store.instance import Instance
from planner.store.journal_file import JournalFile
from planner.store.store import VmIdentity, VmStore

__all__ = ["JournaledRun", "begin_run", "check_nothing_pending", "check_tag_free", "settle"]


@frozen
class JournaledRun:
    """A run that has begun.

    Attributes:
        vm: The VM's share of the store, locked.
        plan: What is run.
        facts: The VM just before.
        journal: Its journal.
        address: Where the VM's socket is.
        started_ns: Host's wall clock when it began.
        digest: Whether frozen images are read in the end, and their digests recorded.
    """

    vm: VmStore
    plan: Plan
    facts: Facts
    journal: JournalFile
    address: str
    started_ns: int
    digest: bool = False

    def recorder(self) -> Recorder:
        """Who writes the journal of the run."""
        return Recorder(self.journal)


def begin_run(  # noqa: PLR0913 - what a header says
    vm: VmStore,
    identity: VmIdentity,
    plan: Plan,
    facts: Facts,
    *,
    instance: Instance,
    deadline_s: float | None = None,
    digest: bool = False,
) -> JournaledRun:
    """Begin a journal; nothing has been sent to the VM yet.

    Raises:
        Refused: The journal cannot be written (``journal-unwritable``).
    """
    if identity.address.startswith("/"):  # over TCP the VM's files may be another machine's
        facts = with_left_out(facts, plan.program.resolution.excluded)
    started_ns = time.time_ns()
    run = hashlib.sha256(f"{started_ns}\0{plan.request.tag}".encode()).hexdigest()[:12]
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
        plan=plan_to_plain(plan),
        facts=facts_to_plain(evolve(facts, schema=())),
        baseline=baseline_of(facts),
        deadline_s=deadline_s,
    )
    try:
        journal = JournalFile.create(vm.journals / f"{run}.journal", journal_line(0, header))
    except JournalFailed as failed:
        problem = Problem("journal-unwritable", str(vm.journals), str(failed), "make room for it")
        message = f"the journal cannot be written: {failed}"
        raise Refused(message, problems=(problem,), code=problem.code) from failed
    return JournaledRun(vm, plan, facts, journal, identity.address, started_ns, digest=digest)


def settle(run: JournaledRun, outcome: Outcome) -> Path | None:
    """Write what has to last of a run's end, and let the journal go where nothing is left to do.

    Returns:
        The manifest of a run that is done.

    Raises:
        UndoIncomplete: The snapshot is whole, and its manifest cannot be written; the journal stays.
    """
    path = None
    if outcome.phase is Phase.DONE:
        path = _write_manifest(run, outcome)
    if outcome.phase in (Phase.DONE, Phase.UNDONE):
        try:
            run.journal.remove()
        except JournalFailed:
            return path  # `recover` finds it, sees that nothing is to be done, and removes it
    run.journal.close()
    return path


def _write_manifest(run: JournaledRun, outcome: Outcome) -> Path:
    made = manifest_of(
        run.plan,
        run.facts,
        outcome,
        address=run.address,
        started_ns=run.started_ns,
        ended_ns=time.time_ns(),
    )
    # Over TCP the VM's files may be another machine's.
    here = run.address.startswith("/")
    manifest = with_records(made, digest=run.digest) if here else made
    try:
        return run.vm.write(manifest)
    except BadInput as error:
        run.journal.close()
        raise UndoIncomplete(
            f"the snapshot is whole, and its manifest is not written: {error.message}",
            problems=(Problem("manifest-unwritten", manifest.tag, error.message, "make room"),),
            code="manifest-unwritten",
            vm_state=f"The VM is {outcome.run_state}; run `snapplan recover` to write the manifest.",
        ) from error


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


def check_tag_free(vm: VmStore, plan: Plan, facts: Facts) -> None:
    """Refuse a tag whose earlier snapshot is recorded and still there, in part or whole.

    What the disks of the request hold the compiler has looked at; a manifest knows of more.

    Raises:
        Refused: With one problem for each part (``tag-taken``).
    """
    try:
        manifest = vm.manifest(plan.request.tag)
    except SnapplanError:
        return  # a damaged manifest is replaced by the new one
    if manifest is None:
        return
    problems = tuple(_in_the_way(manifest, plan, facts))
    if problems:
        message = f"a snapshot {manifest.tag!r} is recorded already"
        raise Refused(message, problems=problems, code="tag-taken")


def _in_the_way(manifest: Manifest, plan: Plan, facts: Facts) -> Iterator[Problem]:
    disks = {disk.name: disk for disk in facts.disks}
    replaced = {(old.disk, old.id) for old in plan.program.resolution.replaced}
    for part in manifest.parts:
        where = part.disk or part.file
        if part.kind is PartKind.INTERNAL:
            held = disks[part.disk].snapshots if part.disk in disks else ()
            there = any((s.id, s.name) == (part.snapshot_id, manifest.tag) for s in held)
            if there and (part.disk, part.snapshot_id) not in replaced:
                yield _taken(where, part)
        elif Path(part.file).exists():
            yield _taken(where, part)


def _taken(where: str, part: ManifestPart) -> Problem:
    return Problem(
        "tag-taken",
        where,
        f"the earlier snapshot of that tag has a part there ({part.kind}), as its manifest says",
        "choose another tag, or delete it first",
    )
