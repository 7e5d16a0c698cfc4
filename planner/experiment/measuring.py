"""A case that measures: one snapshot of a VM of its own, in one design."""

from __future__ import annotations

from attrs import asdict

from planner.compare.measuring import Measuring
from planner.experiment.asking import check_version
from planner.experiment.experiment import Case
from planner.experiment.machine import Machine, Shape, running_machine
from planner.experiment.place import file_system_of
from planner.experiment.requested import request_of
from planner.experiment.result import CaseResult, Measured, State
from planner.experiment.time_limit import run_limited
from planner.run.pump import ask_facts

__all__ = ["measure"]


def measure(case: Case) -> CaseResult:
    """Run a case that measures.

    Raises:
        Refused: The design cannot do it on this QEMU.
        SnapplanError: The run failed, or QEMU did; the VM is gone in any case.
        OSError: There is no room for its images.
    """
    return run_limited(case, _measured(case))


async def _measured(case: Case) -> CaseResult:
    inputs, settings = case.inputs, case.settings
    shape = Shape(
        binary=inputs["binary"],
        accelerator=inputs["accelerator"],
        disks=int(settings["disks"]),
        memory_mib=int(settings["memory-mib"]),
        dirty_mib_per_s=int(settings["dirty-mib-per-s"]),
    )
    design = str(settings["design"])
    async with running_machine(shape) as machine:
        return await _with_machine(case, machine, design)


async def _with_machine(case: Case, machine: Machine, design: str) -> CaseResult:
    facts = await ask_facts(machine.backend)
    version = str(facts.qemu)
    check_version(case, version)
    streams = machine.folder / "streams"
    streams.mkdir(mode=0o700)
    measuring = Measuring(
        machine.backend,
        request_of(int(case.settings["disks"])),
        machine.backend.images,
        machine.backend.host,
        str(streams),
    )
    (run,) = (await machine.until_stopped(measuring.measure(facts, (design,))))[design]
    machine.check_guest()
    figures = Measured(
        **asdict(run, recurse=False),
        qemu_version=version,
        file_system=file_system_of(machine.folder),
    )
    return CaseResult(case.id, dict(case.settings), case.round, State.DONE, measured=figures)
