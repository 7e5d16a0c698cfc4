"""A QMP answer, read member by member and believed nowhere: another shape is one clear error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from attrs import frozen

from planner.errors import CannotConnect, Problem

__all__ = ["AnswerObject", "answer_objects", "malformed"]


def malformed(what: str, why: str) -> CannotConnect:
    """The error for an answer of another shape than QMP says."""
    problem = Problem("reply-malformed", what, why)
    return CannotConnect(
        f"the peer's answer to {what} is not what QMP says: {why}",
        problems=(problem,),
        code=problem.code,
    )


@frozen
class AnswerObject:
    """A JSON object of a reply, read member by member with the type that each must have."""

    value: Mapping[str, object]
    what: str

    @classmethod
    def of(cls, value: object, what: str) -> AnswerObject:
        """Take a value for an object; ``what`` names the question in errors."""
        if not isinstance(value, Mapping):
            raise malformed(what, f"{str(value)[:40]!r} is no object")
        return cls(value, what)

    def text(self, key: str, default: str | None = None) -> str:
        """A member that is text; without a default it must be there."""
        return cast("str", self._typed(key, str, default))

    def number(self, key: str, default: int | None = None) -> int:
        """A member that is a whole number."""
        return cast("int", self._typed(key, int, default))

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """A member that is true or false."""
        return cast("bool", self._typed(key, bool, default))

    def member(self, key: str) -> AnswerObject:
        """A member that is an object; where it is missing, an empty one."""
        return AnswerObject.of(self.value.get(key, {}), f"{self.what}: {key}")

    def members(self, key: str) -> list[AnswerObject]:
        """A member that is a list of objects; where it is missing, an empty one."""
        return answer_objects(self.value.get(key, []), f"{self.what}: {key}")

    def texts(self, key: str) -> tuple[str, ...]:
        """A member that is a list of texts; where it is missing, an empty one."""
        value = self.value.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise malformed(self.what, f"{key} is no list of texts")
        return tuple(value)

    def _typed(self, key: str, kind: type, default: object) -> object:
        value = self.value.get(key, default)
        if type(value) is not kind:
            raise malformed(self.what, f"{key} is {str(value)[:40]!r}")
        return value


def answer_objects(value: object, what: str) -> list[AnswerObject]:
    """Take a value for a list of objects."""
    if not isinstance(value, list):
        raise malformed(what, f"{str(value)[:40]!r} is no list")
    return [AnswerObject.of(item, what) for item in value]
