"""What a load or a delete was decided to do, to and from plain values, so that a journal can hold it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import cattrs
from attrs import frozen
from cattrs import Converter
from cattrs.errors import ClassValidationError

from planner.errors import BadInput, Problem

__all__ = ["PlanText"]

FORMAT_VERSION = 1

_Plan = TypeVar("_Plan")


@frozen
class PlanText(Generic[_Plan]):
    """How one kind of plan is written.

    Attributes:
        name: Its format's name.
        kind: Its class.
        converter: Makes what knows that class, and what it holds, once.
    """

    name: str
    kind: type[_Plan]
    converter: Callable[[], Converter]

    def to_plain(self, plan: _Plan) -> dict[str, object]:
        """A plan as plain values."""
        body: dict[str, object] = self.converter().unstructure(plan)
        return {"format": self.name, "format-version": FORMAT_VERSION, **body}

    def from_plain(self, value: Mapping[str, object], source: str) -> _Plan:
        """The plan that `to_plain` was given.

        Raises:
            BadInput: It is none.
        """
        body = {key: each for key, each in value.items() if key not in ("format", "format-version")}
        if value.get("format") != self.name or value.get("format-version") != FORMAT_VERSION:
            raise _malformed(source, "it is no order of a load or a delete")
        try:
            return self.converter().structure(body, self.kind)
        except ClassValidationError as error:
            words = "; ".join(cattrs.transform_error(error)[:3])
            raise _malformed(source, words) from error
        except RecursionError as error:
            raise _malformed(source, "it nests too deeply") from error


def _malformed(source: str, why: str) -> BadInput:
    problem = Problem("order-malformed", source, why)
    return BadInput(f"{source} cannot be used: {why}", problems=(problem,), code=problem.code)
