"""What the QEMUs of an experiment are, asked before the first case is run, and seen again in each."""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from backends.qemu_facts.lab.binaries import QemuUnusable, greeting
from planner.errors import BadInput, Problem, Refused
from planner.experiment.experiment import Case, Experiment

__all__ = ["check_version", "versions_of"]


def versions_of(experiment: Experiment) -> Mapping[str, str]:
    """The version that each QEMU says of itself, by its name in the file; none are there to explore.

    Raises:
        BadInput: One is not there, or is no QEMU (``qemu-unusable``); all are named that are so.
    """
    if not experiment.kind.runs_qemu:
        return {}
    found, problems = {}, []
    for name, binary in experiment.binaries.items():
        try:
            found[name] = _version(binary)
        except QemuUnusable as error:
            remedy = "give a program that is here: a path, or a name on PATH"
            problems.append(Problem("qemu-unusable", f"vary: qemu: {name}", str(error), remedy))
    if problems:
        raise BadInput(
            "a QEMU of the experiment cannot be used",
            problems=tuple(problems),
            code="qemu-unusable",
        )
    return found


def _version(binary: str) -> str:
    if not shutil.which(binary):
        raise QemuUnusable(f"there is no program {binary}")
    said = greeting(binary)["qemu"]
    return f"{said['major']}.{said['minor']}.{said['micro']}"


def check_version(case: Case, version: str) -> None:
    """See that a case's QEMU is the one that was asked before the first case, where one was.

    Raises:
        Refused: It is not (``qemu-version-differs``).
    """
    wanted = case.inputs["version"]
    if wanted and version != wanted:
        message = f"it is {version} now, and was {wanted} when the experiment began"
        raise Refused.of(Problem("qemu-version-differs", str(case.settings["qemu"]), message))
