"""The experiments of `qemu_facts`, each on every target that it can run on.

`test_facts.py::test_fact[035-deletion_after_cont_works-simulator]` is fact 35, its experiment and the
target; `-k 035-` runs all of fact 35.
"""

import pytest

from backends.qemu_facts.lab.experiment import Bench
from backends.qemu_facts.lab.outcome import NotRun
from backends.qemu_facts.report import experiments, numbers
from tests.conformance.conftest import TARGETS, chosen_targets

# What a target does not model (specs/simulator.md says why): these are not run on it.
NOT_MODELLED = {"simulator": {"block_job_stops_a_transaction_but_no_save"}}


def targets_of(experiment):
    """Where it can run: what needs a real QEMU's files or guest runs on that alone."""
    if not experiment.on_any_vm:
        return ["qemu"]
    return [t for t in chosen_targets() if experiment.name not in NOT_MODELLED.get(t, ())]


def parameters():
    """Each experiment with each of its cases on each target."""
    for number in numbers():
        for experiment in experiments(number):
            for case in experiment.cases:
                marks = [pytest.mark.qemu_versions(since=case.since, before=case.before)]
                marks += [pytest.mark.long] if case.slow else []
                name = "-".join(filter(None, (f"{number:03}", experiment.name, case.name)))
                for target in targets_of(experiment):
                    every = [*marks, *TARGETS[target][1]]
                    yield pytest.param(experiment, case, target, id=f"{name}-{target}", marks=every)


@pytest.mark.parametrize(("experiment", "case", "target"), list(parameters()), indirect=["target"])
def test_fact(experiment, case, target):
    """What the fact tells is seen."""
    try:
        Bench(target).run(experiment, case)
    except NotRun as reason:
        pytest.skip(str(reason))
