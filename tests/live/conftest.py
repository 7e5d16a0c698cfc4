"""Tests on a real QEMU with a real guest; `qemu` starts them."""

import tempfile

import pytest

from tests.live.own_lines import folder
from tests.support.fixtures import VERSIONS_MARKER, deselect_other_versions, qemu
from tests.support.forked import OF_COVERAGE
from tests.support.qemu import qemu_version

__all__ = ["place", "qemu", "scratch"]


@pytest.fixture(autouse=True)
def commands_are_not_measured(monkeypatch):
    """Measured, a command takes half as long again; on the simulator each one is (tests/cli)."""
    for name in OF_COVERAGE:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def place():
    """A folder with images, a store and a QEMU on a command line of the test's own."""
    with folder() as made:
        yield made


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where VMs have their files, so that a test sees what is left of them."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def pytest_configure(config):
    config.addinivalue_line("markers", VERSIONS_MARKER)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    deselect_other_versions(config, items, lambda _item: qemu_version())
