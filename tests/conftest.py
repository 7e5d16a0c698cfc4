"""What holds for every test: no file outside of temporary folders; outputs keep their contract.

Tests marked `long` are for campaigns: without SNAPPLAN_LONG=1 they are deselected, so that the whole
stays within its time.  Each has a sibling that always runs.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.contract import watched
from tests.support.forked import serving

HERE = Path(__file__).parent
NOT_COUNTED = ("crash", "model", "property")
"""What walks through the same lines some thousand times: a tracer doubles that, and finds no more."""


# How long an example takes is the machine's business: on a busy one a test would fail for it.
settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if folder_of(item) in NOT_COUNTED:
            item.add_marker("no_cover")
    if os.environ.get("SNAPPLAN_LONG"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    long += left_out_of_samples(item for item in items if not item.get_closest_marker("long"))
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in set(long)]


def left_out_of_samples(items):
    """Of each test that is marked `sample`, the parameter sets that only campaigns run.

    Those that stay are spread evenly, the first and the last among them, whatever the order of tests is.
    """
    by_test = {}
    for item in items:
        marker = item.get_closest_marker("sample")
        if marker is not None:
            by_test.setdefault((marker.args[0], item.path, item.originalname), []).append(item)
    for (count, *_), found in by_test.items():
        found.sort(key=lambda item: item.name)
        last = len(found) - 1
        kept = {round(last * number / max(count - 1, 1)) for number in range(count)}
        yield from (item for place, item in enumerate(found) if place not in kept)


def folder_of(item):
    """The folder of `tests` that a test stands in."""
    return item.path.relative_to(HERE).parts[0]


@pytest.fixture(autouse=True, scope="session")
def commands_are_forked():
    """Most runs of snapplan fork one that is loaded; campaigns start each as its users do."""
    if os.environ.get("SNAPPLAN_LONG"):
        yield
        return
    with serving():
        yield


@pytest.fixture(autouse=True, scope="session")
def store_of_the_session(tmp_path_factory):
    """The store that a snapplan of the tests uses where a test names none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SNAPPLAN_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(autouse=True, scope="session")
def outputs_keep_their_contract():
    """Every JSON that a snapplan of the tests prints keeps to its schema (`specs/schemas`)."""
    with watched():
        yield
