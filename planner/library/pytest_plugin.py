"""The pytest plugin of the wheel: the fixture `simulated_qemu`.

    def test_backup(simulated_qemu):
        vm = simulated_qemu(["disk0", "disk1"], qemu="7.2")
        my_tool.snapshot(socket=vm.socket)
        assert vm.commands()[-1] == "cont"

It takes what `snapplan.testing.simulated_qemu` takes; all that a test starts ends with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from planner.library.testing import SimulatedQemu

__all__ = ["simulated_qemu"]


@pytest.fixture(name="simulated_qemu")
def simulated_qemu() -> Iterator[Callable[..., SimulatedQemu]]:
    """Starts simulated QEMUs for a test, and ends them after it."""
    from planner.library.testing import simulated_qemu as start  # noqa: PLC0415 - most tests need none

    with contextlib.ExitStack() as after:

        def started(*arguments: Any, **options: Any) -> SimulatedQemu:
            return after.enter_context(start(*arguments, **options))

        yield started
