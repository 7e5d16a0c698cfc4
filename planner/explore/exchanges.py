"""Exchanges of disks: which are alike, which goes where, and what that makes of masks and rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

__all__ = ["Classes", "by_disk", "classes_of", "exchanged", "placed", "targets"]

Classes = tuple[tuple[int, ...], ...]
"""Disks that are alike; a disk that is like no other is in none."""

_Value = TypeVar("_Value")


def classes_of(disks: Iterable[int], alike: Callable[[int, int], bool]) -> Classes:
    """Disks by what they are alike to."""
    classes: list[list[int]] = []
    for disk in disks:
        home = next((found for found in classes if alike(found[0], disk)), None)
        if home is None:
            classes.append([disk])
        else:
            home.append(disk)
    return tuple(tuple(found) for found in classes if len(found) > 1)


def targets(classes: Classes, key: Callable[[int], object]) -> dict[int, int]:
    """By disk, the place that it takes where alike disks are sorted by a key; empty: all stay."""
    target: dict[int, int] = {}
    for members in classes:
        keys = sorted((key(disk), disk) for disk in members)
        target.update({disk: place for (_, disk), place in zip(keys, members, strict=True)})
    return {} if all(disk == place for disk, place in target.items()) else target


def by_disk(pairs: Iterable[tuple[int, int]]) -> dict[int, tuple[int, ...]]:
    """What goes with each disk, in its order."""
    found: dict[int, tuple[int, ...]] = {}
    for disk, what in pairs:
        found[disk] = (*found.get(disk, ()), what)
    return found


def placed(row: tuple[_Value, ...], target: Mapping[int, int]) -> tuple[_Value, ...]:
    """A row with a value for each disk, after the exchange."""
    moved = list(row)
    for disk, place in target.items():
        moved[place] = row[disk]
    return tuple(moved)


def exchanged(mask: int, target: Mapping[int, int]) -> int:
    """A mask of disks, or of operations, after the exchange."""
    moved = 0
    number = 0
    while mask:
        if mask & 1:
            moved |= 1 << target.get(number, number)
        mask >>= 1
        number += 1
    return moved
