"""Designs that are files: the built-in ones by name, any other by its path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from planner.errors import BadInput, InternalError, Problem
from planner.host.input import read_text_file

if TYPE_CHECKING:
    from planner.explore.design import DesignFile

__all__ = ["built_in_designs", "find_design", "is_path"]

_ROOM = Path(__file__).resolve().parent.parent
_PLACES = (_ROOM / "explore" / "designs", _ROOM.parent / "specs" / "designs")
"""In an installed package beside the explorer; in a clone where people read them."""


def _directory() -> Path:
    for place in _PLACES:
        if place.is_dir():
            return place
    raise InternalError(f"the built-in designs are missing: neither of {_PLACES} is there")


def built_in_designs() -> dict[str, Path]:
    """The built-in design files by name."""
    return {path.stem: path for path in sorted(_directory().glob("*.yaml"))}


def is_path(name: str) -> bool:
    """Whether a word for a design is the path of its file, and no name."""
    return "/" in name or name.endswith((".yaml", ".yml", ".json"))


def find_design(name: str) -> DesignFile:
    """A design by name, or by the path of its file.

    Raises:
        BadInput: There is none, or its file is malformed.
    """
    from planner.explore.design_text import read_design  # noqa: PLC0415 - it takes its time

    if is_path(name):
        return read_design(read_text_file(name), name)
    known = built_in_designs()
    if name not in known:
        words = f"known are: {', '.join(['auto', *known])}, or the path of a design file"
        problem = Problem("design-unknown", name, "no design is called so", words)
        raise BadInput(f"unknown design {name!r}", problems=(problem,), code=problem.code)
    return read_design(known[name].read_text(encoding="utf-8"), name)
