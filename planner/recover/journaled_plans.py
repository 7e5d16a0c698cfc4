"""Loads and deletes as plain values, so that a journal can hold one, and the machine of each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import cattrs
from cattrs import Converter
from cattrs.errors import ClassValidationError

from planner.delete.delete_checks import DeletedPart, DeletePlan
from planner.delete.deleting import DeleteMachine
from planner.errors import BadInput, Problem
from planner.load.load_checks import LoadedPart, LoadPlan
from planner.load.loading import LoadMachine
from planner.model.strict import strict_converter, write_with_hyphens
from planner.parts.merge_checks import MergedOverlay
from planner.program.resolution import Settings
from planner.run.machine import Machine

__all__ = [
    "FORMATS",
    "JournaledPlan",
    "machine_of",
    "journaled_plan_from_plain",
    "journaled_plan_to_plain",
]

FORMAT_VERSION = 1
FORMATS: dict[str, type[Any]] = {"snapplan-load": LoadPlan, "snapplan-delete": DeletePlan}

JournaledPlan = LoadPlan | DeletePlan


@cache  # most commands need few of these, and each takes its time to make
def _converter() -> Converter:
    converter = strict_converter()
    for kind in (LoadedPart, Settings, DeletedPart, MergedOverlay, DeletePlan):
        write_with_hyphens(converter, kind)
    write_with_hyphens(converter, LoadPlan, seldom=("settings", "minds_errors", "forgets_error"))
    return converter


def journaled_plan_to_plain(order: JournaledPlan) -> dict[str, object]:
    """An order as plain values."""
    name = next(name for name, kind in FORMATS.items() if type(order) is kind)
    body: dict[str, object] = _converter().unstructure(order)
    return {"format": name, "format-version": FORMAT_VERSION, **body}


def journaled_plan_from_plain(value: Mapping[str, object], source: str) -> JournaledPlan:
    """The order that `journaled_plan_to_plain` was given.

    Raises:
        BadInput: It is none.
    """
    kind = FORMATS.get(str(value.get("format")))
    body = {key: each for key, each in value.items() if key not in ("format", "format-version")}
    if kind is None or value.get("format-version") != FORMAT_VERSION:
        raise _malformed(source, "it is no order of a load or a delete")
    try:
        order: JournaledPlan = _converter().structure(body, kind)
    except (ClassValidationError, RecursionError) as error:
        words = (
            "; ".join(cattrs.transform_error(error)[:3])
            if isinstance(error, ClassValidationError)
            else "it nests too deeply"
        )
        raise _malformed(source, words) from error
    return order


def _malformed(source: str, why: str) -> BadInput:
    problem = Problem("order-malformed", source, why)
    return BadInput(f"{source} cannot be used: {why}", problems=(problem,), code=problem.code)


def machine_of(order: JournaledPlan, deadline_s: float | None = None) -> Machine:
    """A machine for an order; from the same order and answers it asks for the same actions."""
    if isinstance(order, LoadPlan):
        return LoadMachine.of(order, deadline_s)
    return DeleteMachine.of(order)
