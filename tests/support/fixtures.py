"""The pytest side of the harness, for the conftest files of tests on a VM.

Rules:

- A test that takes `target` is about QMP only and runs on every target that its conftest names; a
  test that takes `qemu` needs a real one (its images, its process, its guest).
- Real QEMU is never skipped: where it is missing, the test fails.
- A test that concerns some versions only says so by `@pytest.mark.qemu_versions(since=(10, 0),
  before=(11, 0))`; for other versions it is deselected at collection.
"""

from collections.abc import Callable

import pytest

from tests.support.qemu import QemuTarget

__all__ = ["VERSIONS_MARKER", "concerns", "deselect_other_versions", "long", "qemu"]

VERSIONS_MARKER = (
    "qemu_versions(since, before): the (major, minor) versions that the test concerns; "
    "others are deselected"
)


def long(*values: object) -> list[object]:
    """Values of a parameter that only campaigns take (the marker `long`)."""
    return [pytest.param(value, marks=pytest.mark.long) for value in values]


@pytest.fixture
def qemu():
    """Real QEMUs, whatever the targets are."""
    target = QemuTarget()
    yield target
    target.close()


def concerns(item: pytest.Item, version: tuple[int, int]) -> bool:
    """Whether a test concerns a version, by its markers."""
    return all(
        marker.kwargs.get("since", (0, 0)) <= version < marker.kwargs.get("before", (999, 0))
        for marker in item.iter_markers("qemu_versions")
    )


def deselect_other_versions(
    config: pytest.Config,
    items: list[pytest.Item],
    version_of: Callable[[pytest.Item], tuple[int, int]],
) -> None:
    """Take the tests away that do not concern the version they would run on."""
    gated = [item for item in items if item.get_closest_marker("qemu_versions")]
    others = {item for item in gated if not concerns(item, version_of(item))}
    if others:
        config.hook.pytest_deselected(items=sorted(others, key=lambda item: item.nodeid))
        items[:] = [item for item in items if item not in others]
