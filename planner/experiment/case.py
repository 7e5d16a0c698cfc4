"""Runs one case, here: on this machine, in this process.  A worker elsewhere calls this, too.

Whatever happens inside of a case is its result.  A QEMU that dies, lies or hangs, a disk that is full
and a bug of ours are all told as one that failed, and the other cases go on.
"""

from __future__ import annotations

import os
import platform
import time

from attrs import evolve

from planner.errors import BadInput, Problem, Refused, SnapplanError, Violation
from planner.experiment.crashing import crash
from planner.experiment.experiment import Case, Kind
from planner.experiment.exploring import explore
from planner.experiment.lockstepping import run_lockstep
from planner.experiment.measuring import measure
from planner.experiment.place import machine_words
from planner.experiment.result import CaseResult, Ran, State, came_to_nothing
from planner.host.version import snapplan_version

__all__ = ["run_case"]

_WORK = {
    Kind.MEASURE: measure,
    Kind.EXPLORE: explore,
    Kind.LOCKSTEP: run_lockstep,
    Kind.CRASH: crash,
}


def run_case(case: Case, snapplan: str) -> CaseResult:
    """Run a case.

    Args:
        case: What is to be done.
        snapplan: The version of snapplan that asks for it: another one's figures are another's.

    Returns:
        What it came to, whatever that is.
    """
    began_s, load = time.time(), os.getloadavg()[0]
    result = _result(case, snapplan)
    ran = Ran(
        host=platform.node(),
        machine=machine_words(),
        cpus=os.cpu_count() or 1,
        load=round(load, 2),
        began_s=round(began_s, 3),
        seconds=round(time.time() - began_s, 3),
        snapplan=snapplan_version(),
    )
    return evolve(result, ran=ran)


def _result(case: Case, snapplan: str) -> CaseResult:
    here = snapplan_version()
    if here != snapplan:
        problem = Problem("worker-differs", platform.node(), f"snapplan is {here}, not {snapplan}")
        return came_to_nothing(case, (problem,), State.FAILED)
    try:
        return _WORK[case.kind](case)
    except (Refused, Violation, BadInput) as error:
        return came_to_nothing(case, error.as_problems(), State.REFUSED)
    except SnapplanError as error:
        return came_to_nothing(case, error.as_problems(), State.FAILED)
    except OSError as error:
        why = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        return came_to_nothing(case, (Problem("case-failed", "", why),), State.FAILED)
    except Exception as error:  # noqa: BLE001 - the boundary of a case: the others go on
        why = f"{type(error).__name__}: {error}"
        return came_to_nothing(case, (Problem("case-failed", "", why),), State.FAILED)
