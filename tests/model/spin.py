"""SPIN as an outside witness: which properties it finds violated in a model."""

import re
import shutil
import subprocess

from planner.explore.promela import promela
from planner.explore.promela_back import promela_back, spin_back_properties
from planner.explore.promela_properties import SPIN_PROPERTIES

__all__ = [
    "SPIN_MISSING",
    "asked_of_spin",
    "model_in_spin",
    "spin_and_explorer",
    "spin_of_back",
]

SPIN_MISSING = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
_VIOLATED = re.compile(r"assertion violated\s+!\(bad_(\w+)\)")
_STATES = re.compile(r"(\d+(?:\.\d+e\+\d+)?) states, stored")


def asked_of_spin(setting, directory, timeout_s=600):
    """The properties that SPIN finds violated in a setting, and how many states it stored."""
    violated, states = model_in_spin(promela(setting), directory, timeout_s)
    assert violated <= known(setting)
    return violated, states


def spin_of_back(setting, directory, timeout_s=600):
    """The same of a load or a delete; the explorer knows no property that SPIN does not."""
    violated, _ = model_in_spin(promela_back(setting), directory, timeout_s)
    assert violated <= set(spin_back_properties(setting.purpose))
    return violated


def model_in_spin(text, directory, timeout_s=600):
    """The same, in a model."""
    (directory / "model.pml").write_text(text)
    _run(["spin", "-a", "model.pml"], directory, timeout_s)
    # Unoptimised: the search takes a second at most, while optimising so large a source takes twenty.
    _run(["gcc", "-DSAFETY", "-O0", "-w", "-o", "pan", "pan.c"], directory, timeout_s)
    out = _run(["./pan", "-c0", "-E", "-n", "-m1000000"], directory, timeout_s)
    for cut_short in ("max search depth too small", "Search not completed"):
        assert cut_short not in out, "SPIN did not search everything"
    violated = {word.replace("_", "-") for word in _VIOLATED.findall(out)}
    return violated, int(float(_STATES.search(out)[1]))


def _run(command, directory, timeout_s):
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def spin_and_explorer(setting, report, directory):
    """SPIN's verdict and the explorer's, on what both know."""
    violated, states = asked_of_spin(setting, directory)
    return violated, set(report.violated) & known(setting), states


def known(setting):
    """The properties that the model asserts."""
    return {*SPIN_PROPERTIES, *setting.limits.asked}
