"""What actions carry and responses bring, as plain values that come back the same.

QMP's own values are plain already.  Beside them a response may bring a tuple, or a frozen class of ours;
these are marked with a key that QMP does not use, and a mapping with such a key is written as pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from attrs import fields, has

from planner.model.facts import SnapshotInfo
from planner.model.strict import strict_converter

__all__ = ["plain", "value_from_plain"]

_TUPLE = "$tuple"
_MAPPING = "$mapping"
_CLASSES: dict[str, type[Any]] = {"$snapshot": SnapshotInfo}
_MARKS = {kind: mark for mark, kind in _CLASSES.items()}
_converter = cache(strict_converter)


def plain(value: object) -> object:
    """A value as plain values.

    Raises:
        TypeError: It is of a kind that a journal does not hold: a mistake in snapplan.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, tuple):
        return {_TUPLE: [plain(each) for each in value]}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        pairs = {str(key): plain(each) for key, each in value.items()}
        if any(key.startswith("$") for key in pairs):
            return {_MAPPING: [list(pair) for pair in pairs.items()]}
        return pairs
    kind: type[Any] = type(value)
    if has(kind):
        body = {each.name: plain(getattr(value, each.name)) for each in fields(kind)}
        return {_MARKS.get(kind, f"${kind.__name__.lower()}"): body}
    raise TypeError(f"a journal holds no {kind.__name__}")


def value_from_plain(value: object) -> object:
    """What `plain` was given.

    Raises:
        ValueError: It is marked in a way that `plain` does not mark anything.
    """
    if isinstance(value, list):
        return [value_from_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    marks = [key for key in value if key.startswith("$")]
    if not marks:
        return {key: value_from_plain(each) for key, each in value.items()}
    [mark], body = marks[:1], value[marks[0]]
    if len(value) != 1:
        raise ValueError(f"{mark} stands beside other keys")
    return _marked(mark, body)


def _marked(mark: str, body: object) -> object:
    if mark == _TUPLE and isinstance(body, list):
        return tuple(value_from_plain(each) for each in body)
    if mark == _MAPPING and isinstance(body, list):
        return _pairs(body)
    if mark in _CLASSES and isinstance(body, dict):
        found: object = _converter().structure(body, _CLASSES[mark])
        return found
    raise ValueError(f"{mark[:40]!r} marks nothing known")


def _pairs(body: list[object]) -> dict[str, object]:
    found = {}
    for pair in body:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ValueError(f"{_MAPPING} is no list of pairs")
        found[pair[0]] = value_from_plain(pair[1])
    return found
