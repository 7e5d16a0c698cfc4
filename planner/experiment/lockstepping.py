"""A case in lockstep: one sequence of commands on a real QEMU of its own and on the simulated one."""

from __future__ import annotations

import time

from planner.experiment.asking import check_version
from planner.experiment.experiment import Case
from planner.experiment.lockstep.comparing import Asked, run_sequence
from planner.experiment.result import CaseResult, State
from planner.experiment.time_limit import too_long

__all__ = ["run_lockstep"]


def run_lockstep(case: Case) -> CaseResult:
    """Run a case in lockstep.

    Raises:
        BadInput: QEMU is older than what is simulated.
        Refused: QEMU is not the one that was asked before the first case.
        RunFailed: QEMU did not start, was silent, or was ended by somebody; or the time was up.
        OSError: There is no room for its images.
    """
    settings = case.settings
    asked = Asked(
        seed=int(settings["sequence-seed"]),
        length=int(settings["length"]),
        commands=str(settings["commands"]),
        binary=case.inputs["binary"],
        accelerator=case.inputs["accelerator"],
    )
    try:
        found = run_sequence(asked, until=time.monotonic() + case.time_limit_s)
    except TimeoutError:
        raise too_long(f"it did not end in {case.time_limit_s} s") from None
    check_version(case, found.qemu_version)
    return CaseResult(case.id, dict(settings), case.round, State.DONE, lockstep=found)
