"""Our own files: JSON that says its format and its version, checked strictly on the way in.

One place for what every one of them needs: keys that stand twice, unknown keys, other types, another
format or version, and what nests too deeply end in one `BadInput` of the format's code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import frozen
from cattrs import Converter

from planner.errors import BadInput, Problem
from planner.model.strict import Malformed, structured
from planner.model.text import json_object, read_json

__all__ = ["FileFormat"]

_Value = TypeVar("_Value")
_HEAD = ("format", "format-version")


@frozen
class FileFormat(Generic[_Value]):
    """One format of files.

    Attributes:
        name: What a file says that it is.
        version: The version that is read and written.
        kind: The class of what is in it.
        converter: Makes what knows that class, once.
        code: Of the error where a file is none.
        unfit: What is then said of it, in a clause.
        remedy: What to do then.
    """

    name: str
    version: int
    kind: type[_Value]
    converter: Callable[[], Converter]
    code: str
    unfit: str
    remedy: str = ""

    def to_plain(self, value: _Value) -> dict[str, object]:
        """A value as plain values, with the format's name before it."""
        body: dict[str, object] = self.converter().unstructure(value)
        return {"format": self.name, "format-version": self.version, **body}

    def says_so(self, text: str) -> bool:
        """Whether a text says that it is of this format; what is in it may still be malformed."""
        return (json_object(text) or {}).get("format") == self.name

    def read(self, text: str, source: str) -> _Value:
        """Read a file's text.

        Args:
            text: JSON.
            source: The file's name, for messages.

        Raises:
            BadInput: It is not of this format, or of another version, or malformed.
        """
        document = read_json(text, source)
        if document.problems:
            raise BadInput(f"{source} is malformed", problems=document.problems, code=self.code)
        return self.from_plain(document.value, source)

    def from_plain(self, value: object, source: str) -> _Value:
        """What `to_plain` was given; see `read`."""
        if not isinstance(value, dict) or value.get("format") != self.name:
            raise self.malformed(source, f"it does not say `format: {self.name}`")
        if value.get("format-version") != self.version:
            raise self.malformed(source, f"its format-version is not {self.version}")
        body = {key: each for key, each in value.items() if key not in _HEAD}
        try:
            return structured(self.converter(), body, self.kind)
        except Malformed as error:
            raise self.malformed(source, str(error)) from error

    def malformed(self, source: str, why: str) -> BadInput:
        """The error for a file that is none of these."""
        problem = Problem(self.code, source, why, self.remedy)
        return BadInput(f"{source} {self.unfit}: {why}", problems=(problem,), code=self.code)
