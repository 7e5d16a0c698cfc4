"""A case that explores: every run of one design under one set of faults."""

from __future__ import annotations

import time

from planner.compare.request_per_design import adapt
from planner.experiment.experiment import Case
from planner.experiment.reading import FAULTS
from planner.experiment.requested import disk_names, request_of
from planner.experiment.result import CaseResult, Explored, State
from planner.experiment.time_limit import too_long
from planner.explore.design import IN_AN_IMAGE, NO_MACHINE_STATE
from planner.explore.design_text import read_design
from planner.explore.limits import InPause, Limits
from planner.explore.state import ClientDeath
from planner.model.facts import Disk, Facts, QemuVersion
from planner.model.facts_text import read_facts
from planner.model.request_text import read_request
from planner.semantics import PROFILES, capability_names, schema_of
from planner.verbs.exploring import Strikes, Task, task_of_design, task_of_request

__all__ = ["explore"]

_NEWEST = "11.1"


def explore(case: Case) -> CaseResult:
    """Run a case that explores.

    Raises:
        BadInput: The request or the design is malformed.
        Refused: The design cannot do it, or it cannot be explored.
        RunFailed: It took longer than it may (``case-too-long``).
    """
    search = _task(case).search(0, reduced=True)
    deadline = time.monotonic() + case.time_limit_s
    for progress in search.run():
        if time.monotonic() > deadline:
            raise too_long(
                f"after {case.time_limit_s} s it has {progress.states} states, and goes on",
                "raise time-limit-s in the file, or take fewer disks or faults",
            )
    report = search.report()
    found = Explored(
        violated=report.violated,
        finished=report.finished,
        states=report.states,
        transitions=report.transitions,
        depth=report.depth,
    )
    return CaseResult(case.id, dict(case.settings), case.round, State.DONE, explored=found)


def _task(case: Case) -> Task:
    settings, inputs = case.settings, case.inputs
    strikes = Strikes(
        faults=FAULTS[str(settings["faults"])],
        other_clients=bool(settings["other-clients"]),
        client_death=ClientDeath(str(settings["client-death"])),
        limits=Limits(
            InPause(str(settings.get("pause-at-most", InPause.ALL.value))),
            bool(settings.get("monitor-answers", False)),
        ),
    )
    name, text = str(settings["design"]), inputs.get("design-text")
    design = None if text is None else read_design(text, name)
    if "request" in inputs:
        facts = read_facts(inputs["facts"], "facts")
        read = read_request(inputs["request"], "request")
    else:
        facts = _facts(int(settings["disks"]))
        state = _machine_state("" if design is None else design.capture)
        read = request_of(int(settings["disks"]), state)
    if design is not None:
        return task_of_design(design, read, facts, strikes)
    return task_of_request(adapt(read, facts, name).read, facts, name, strikes)


def _machine_state(capture: str) -> object:
    """Where a design has the machine state, by its word for that; empty: inside the first disk."""
    if capture == NO_MACHINE_STATE:
        return "none"
    if capture == IN_AN_IMAGE:
        return {"image": "/vm/state.qcow2"}
    return {"external": "/vm/state", "capture": capture} if capture else None


def _facts(disks: int) -> Facts:
    """A VM of so many qcow2 disks, on the newest QEMU that is modelled."""
    profile = PROFILES[_NEWEST]
    return Facts(
        qemu=QemuVersion(*profile.version, profile.package),
        machine="pc",
        target="x86_64",
        run_state="running",
        disks=tuple(map(_disk, disk_names(disks))),
        schema=schema_of(_NEWEST).entries,
        capabilities=dict.fromkeys(capability_names(_NEWEST), False),
    )


def _disk(name: str) -> Disk:
    return Disk(
        name,
        node=name,
        root=name,
        driver="qcow2",
        filename=f"/vm/{name}.qcow2",
        qdev=f"{name}-device",
        virtual_size_bytes=2**30,
    )
