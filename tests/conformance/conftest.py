"""What the conformance tests run on.

An experiment of `qemu_facts` shows one fact of `specs/qemu-facts.md`, and runs on every target: the one
suite that each backend passes. `SNAPPLAN_TARGETS` (names with commas) chooses; default is all of them.
"""

import os

import pytest

from backends.qemu_facts.lab.experiment import close_kept
from tests.model.target import SimulatorTarget
from tests.support.fixtures import VERSIONS_MARKER, deselect_other_versions, qemu
from tests.support.qemu import QemuTarget, qemu_version

__all__ = ["qemu"]

# ================================================================================================
# THE REGISTRY OF TARGETS: the only place to change when another one is added.
# A target is a class with `version()`, `start(topology) -> Vm` and `close()`; its marks say what
# it needs. Its name is the test's parameter id: `test_fact_05_...[qemu]`.
TARGETS = {
    "qemu": (QemuTarget, (pytest.mark.real_qemu,)),
    "simulator": (SimulatorTarget, ()),
}
# ================================================================================================


def chosen_targets() -> list[str]:
    names = os.environ.get("SNAPPLAN_TARGETS", ",".join(TARGETS)).split(",")
    unknown = set(names) - set(TARGETS)
    if unknown:
        raise pytest.UsageError(f"SNAPPLAN_TARGETS names no target: {sorted(unknown)}")
    return names


def pytest_configure(config):
    config.addinivalue_line("markers", VERSIONS_MARKER)


def pytest_generate_tests(metafunc):
    of_experiments = "experiment" in metafunc.fixturenames  # they name their targets themselves
    if "target" in metafunc.fixturenames and not of_experiments:
        names = [pytest.param(name, marks=TARGETS[name][1]) for name in chosen_targets()]
        metafunc.parametrize("target", names, indirect=True)


@pytest.fixture
def target(request):
    """Starts VMs of the parameter's kind, and ends them after the test."""
    made = TARGETS[request.param][0]()
    yield made
    made.close()


@pytest.fixture(autouse=True, scope="session")
def what_experiments_share_is_taken_away():
    """A libvirtd's QEMUs, for one, would outlive the tests."""
    yield
    close_kept()


def version_of(item):
    name = item.callspec.params.get("target") if hasattr(item, "callspec") else None
    return TARGETS[name][0].version() if name else qemu_version()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    deselect_other_versions(config, items, version_of)
