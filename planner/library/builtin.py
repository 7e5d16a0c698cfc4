"""The backends that snapplan brings along, as entry points name them."""

from __future__ import annotations

from backends.domain.backend import connect as libvirt
from backends.qemu import connect as qemu

__all__ = ["libvirt", "qemu"]
