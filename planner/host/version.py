"""Which snapplan this is."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version

__all__ = ["snapplan_version"]


@cache
def snapplan_version() -> str:
    """The version of the installed distribution, read once."""
    return version("snapplan")
