"""Consistent snapshots of QEMU virtual machines: save, go back, delete, and undo what fails."""

from __future__ import annotations

__all__: list[str] = []
