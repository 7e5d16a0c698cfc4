"""What every JSON that a command prints has in common (`specs/schemas`, `specs/decisions/0017`).

Rules: each output is an object with ``format-version``, and keeps to the schema of its name, strictly.
A member that may go beyond 2^53 - 1 is a string of decimal digits, always: no reader of JSON rounds it,
and its type never depends on its value.  All other numbers are within that bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["FORMAT_VERSIONS", "SAFE_INTEGER", "decimal", "output"]

SAFE_INTEGER = 2**53 - 1
"""The last whole number that a reader keeps which takes JSON's numbers for doubles."""

FORMAT_VERSIONS: Mapping[str, int] = MappingProxyType(
    {
        "adopt": 1,
        "apply": 2,
        "check": 1,
        "compare": 2,
        "conformance": 1,
        "delete": 1,
        "design": 1,
        "doctor": 1,
        "error": 1,
        "experiment": 1,
        "explore": 1,
        "gc": 1,
        "group": 1,
        "inspect": 2,
        "list": 2,
        "load": 2,
        "progress": 1,
        "recover": 2,
        "restore": 1,
        "schemas": 1,
        "template": 1,
        "verify": 1,
    }
)
"""Names of outputs, and the version of each; a member that is added makes no new version."""


def output(name: str, body: Mapping[str, object]) -> dict[str, object]:
    """An output of this name, headed by its version."""
    return {"format-version": FORMAT_VERSIONS[name], **body}


def decimal(number: int) -> str:
    """A number that may go beyond `SAFE_INTEGER`, as JSON has it."""
    return str(number)
