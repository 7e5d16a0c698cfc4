"""Tests on a real QEMU with a real guest; `qemu` starts them."""

import pytest

from tests.live.own_lines import folder
from tests.support.fixtures import VERSIONS_MARKER, deselect_other_versions, qemu
from tests.support.qemu import qemu_version

__all__ = ["place", "qemu"]


@pytest.fixture
def place():
    """A folder with images, a store and a QEMU on a command line of the test's own."""
    with folder() as made:
        yield made


def pytest_configure(config):
    config.addinivalue_line("markers", VERSIONS_MARKER)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    deselect_other_versions(config, items, lambda _item: qemu_version())
