"""Examines a VM: what cannot be asked is a finding, and all else is looked at all the same."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from planner.doctor.abilities import design_abilities, disk_abilities
from planner.doctor.around import (
    frozen_findings,
    image_findings,
    machine_findings,
    qemu_findings,
    run_findings,
    socket_findings,
    store_findings,
)
from planner.doctor.finding import Area, Examination, Finding, Standing, wrong
from planner.doctor.vm_checks import vm_findings
from planner.errors import CannotConnect, Problem, SnapplanError
from planner.model.facts import Facts
from planner.recover.recovery import pending_runs
from planner.run.ports import Backend
from planner.store.meeting import Met, is_of, meet
from planner.store.process_locks import held_by
from planner.store.store import Store, absolute_address

__all__ = ["examine", "examine_around", "examine_facts"]

_NO_QMP = "what answers there does not speak QMP"


async def examine(
    store: Store, address: str, connect: Callable[[str], Awaitable[Backend]]
) -> Examination:
    """Ask a VM, and look at all around it.  The VM is asked questions only.

    Args:
        store: Where its records would be.
        address: Where the VM is, as a user spells it.
        connect: Connects to such an address; what it raises of snapplan's errors is a finding.
    """
    place = absolute_address(address)
    before = (*machine_findings(), *store_findings(store.root), *socket_findings(place))
    try:
        backend = await connect(address)
    except SnapplanError as error:
        return _unanswered(store, place, before, error)
    except Exception as error:  # noqa: BLE001 - of a backend of others, and a finding like any other
        odd = CannotConnect(f"its backend failed: {type(error).__name__}")
        return _unanswered(store, place, before, odd)
    try:
        met = await meet(backend, store, address)
    except SnapplanError as error:
        return _unanswered(store, place, before, error)
    finally:
        await backend.close()
    return _met(store, met, before)


def examine_around(store: Store) -> Examination:
    """Look at this machine, its QEMUs and the store; no VM is asked."""
    around = (*machine_findings(), *store_findings(store.root), *qemu_findings())
    return Examination((*around, *run_findings(store, ())))


def examine_facts(store: Store, facts: Facts) -> Examination:
    """What can be told of facts alone, and of the store."""
    around = (*machine_findings(), *store_findings(store.root), *vm_findings(facts))
    findings = (*around, *run_findings(store, ()))
    designs = design_abilities(facts, lambda _path: False, "")
    return Examination(findings, disk_abilities(facts), designs)


def _unanswered(
    store: Store, place: str, before: tuple[Finding, ...], error: SnapplanError
) -> Examination:
    problems = error.as_problems(place)
    if isinstance(error, CannotConnect) and error.code == "not-qmp":
        # What it said instead may be anything, and a secret too.
        problems = tuple(Problem(p.code, p.subject, _NO_QMP, p.remedy) for p in problems)
    told = {(each.code, each.subject) for each in before}
    found = tuple(
        wrong(Area.CONNECTION, each) for each in problems if (each.code, each.subject) not in told
    )
    runs = run_findings(store, _journals_at(store, place))
    return Examination((*before, *found, *qemu_findings(), *runs))


def _journals_at(store: Store, place: str) -> list[Path]:
    try:
        return [each.path for each in pending_runs(store) if each.address == place]
    except SnapplanError:
        return []  # `run_findings` says so


def _met(store: Store, met: Met, before: tuple[Finding, ...]) -> Examination:
    facts, here = met.facts, met.backend.images is not None
    there = os.path.lexists if here else (lambda _path: False)
    findings = [*before, *_who(met), *vm_findings(facts)]
    findings += image_findings(facts.disks) if here else ()
    findings += frozen_findings(met.vm, facts)
    findings += run_findings(store, _journals_of(store, met))
    designs = design_abilities(facts, there, str(Path.cwd()) if here else "")
    return Examination(tuple(findings), disk_abilities(facts), designs)


def _journals_of(store: Store, met: Met) -> list[Path]:
    place = met.identity.address
    try:
        return [
            each.path
            for each in pending_runs(store)
            if each.address == place
            or (each.journal is not None and is_of(each.journal.header, each.vm.vm_key, met))
        ]
    except SnapplanError:
        return []


def _who(met: Met) -> list[Finding]:
    """Who answers, and who else is at work on it."""
    place, process = met.identity.address, met.instance.process
    kind = "storage daemon" if met.facts.is_daemon else "QEMU"
    name = met.facts.vm_name or met.facts.vm_uuid or "no name, no UUID"
    found = [Finding(Area.CONNECTION, Standing.GOOD, place, f"a {kind} answers ({name})")]
    if process is not None:
        message = f"process {process.pid}"
        found.append(Finding(Area.CONNECTION, Standing.GOOD, kind, message))
    else:
        message = (
            "its process cannot be told from here: another user's, a relay, or another machine"
        )
        remedy = "run snapplan on its machine, as its user or as root"
        found.append(
            Finding(Area.CONNECTION, Standing.NOTE, kind, message, "process-unproved", remedy)
        )
    holder = held_by(met.lock_names)
    if holder:
        problem = Problem("vm-locked", "vm", holder, "wait until it has ended")
        found.append(wrong(Area.CONNECTION, problem))
    return found
