"""The backends that snapplan brings along, as entry points name them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from backends.qemu import connect as qemu
from planner.run.ports import Backend

__all__ = ["qemu"]  # and libvirt, see below


def __getattr__(name: str) -> Callable[[str], Awaitable[Backend]]:
    # What speaks to libvirt is loaded for a domain of libvirt's alone: it is a tenth of a start.
    if name == "libvirt":
        from backends.domain.backend import connect  # noqa: PLC0415

        return connect
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
