"""The JSON schemas of all that snapplan reads and prints, as files: in a wheel, and in a clone."""

from __future__ import annotations

from pathlib import Path

from planner.errors import BadInput, InternalError, Problem

__all__ = ["OUTPUTS_OF", "schema_files", "schema_text"]

_ROOM = Path(__file__).resolve().parent.parent
_PLACES = (_ROOM.parent / "schemas", _ROOM.parent / "specs" / "schemas")
"""In an installed package beside its rooms; in a clone where people read them."""
_SUFFIX = ".schema.json"

OUTPUTS_OF = {"plan": "plan", "show": "plan", "schema": "schemas"}
"""Commands whose output with `--json` has another name than the command."""


def schema_files() -> dict[str, Path]:
    """The schemas' files by name."""
    for place in _PLACES:
        if place.is_dir():
            found = place.glob(f"*{_SUFFIX}")
            names = {path.name.removesuffix(_SUFFIX): path for path in found}
            return dict(sorted(names.items()))
    raise InternalError(f"the schemas are missing: neither of {_PLACES} is there")


def schema_text(name: str) -> str:
    """One schema, as it stands in its file.

    Raises:
        BadInput: There is none of this name.
    """
    known = schema_files()
    if name not in known:
        problem = Problem("schema-unknown", name, "no schema is called so", ", ".join(known))
        raise BadInput(f"unknown schema {name!r}", problems=(problem,), code=problem.code)
    return known[name].read_text(encoding="utf-8")
