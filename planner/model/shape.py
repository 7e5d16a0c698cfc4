"""What a value of a file may be, said once: read by it, written by it, and published as a JSON schema.

Rules: a reader never stops early.  What it cannot read is reported, and is `UNREAD`; then a default or
a stand-in takes its place, so that whoever goes on finds what else is wrong.  Problems come in the order
in which the keys are described.  A writer takes any object: what is no value of the shape is written as
what the reader refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from attrs import NOTHING, field, fields_dict, frozen

from planner.errors import Problem
from planner.model.text import Document

__all__ = ["UNREAD", "Key", "Reading", "Shape", "Where"]
__all__ += ["choice", "flag", "named", "one_of", "record", "said", "text", "whole"]

UNREAD: Any = object()
"""A value that could not be read; the problem has been reported."""

Where = tuple[str, ...]


@frozen
class Reading:
    """A document as it is read, and what is wrong with it so far."""

    document: Document
    problems: list[Problem] = field(factory=list)

    def report(self, code: str, where: Where, message: str, remedy: str = "") -> Any:
        """Report a problem, with the line where that is known; `UNREAD`."""
        line = self.document.lines.get(where)
        at = f" (line {line})" if line is not None else ""
        self.problems.append(Problem(code, ".".join(where), message + at, remedy))
        return UNREAD

    def wrong(self, where: Where, value: object, expected: str) -> Any:
        """Report a value of a wrong type; `UNREAD`."""
        if value is None:
            return self.report("value-wrong", where, f"it is empty, and should be {expected}")
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        return self.report("value-wrong", where, f"{shown} is not {expected}")


def _as_it_is(value: Any) -> object:
    return value


@frozen
class Shape:
    """What a value may be.

    Attributes:
        read: The value as the program has it, of what a file has; `UNREAD` where that is wrong.
        schema: The same as a JSON schema, as far as one can say it.
        write: What a file has, of the value.
        kind: The class that it becomes, where that is one of its own.
    """

    read: Callable[[object, Where, Reading], Any]
    schema: Mapping[str, object]
    write: Callable[[Any], object] = _as_it_is
    kind: type[Any] = object


@frozen
class Key:
    """One key of a record; it must be there where its attribute has no default.

    Attributes:
        name: As a file has it.
        shape: What its value may be.
        says: What it means, for the schema.
        missing: What is wrong without it, and what to write.
        attribute: The attribute that it becomes; empty: of its name.
        instead: What takes the place of a value that cannot be read, in place of the default.
        seldom: Whether it is written only where it is not as by default.
    """

    name: str
    shape: Shape
    says: str = ""
    missing: tuple[str, str] | None = None
    attribute: str = field(default="", kw_only=True)
    instead: object = field(default=UNREAD, kw_only=True)
    seldom: bool = field(default=False, kw_only=True)

    @property
    def target(self) -> str:
        """The attribute's name."""
        return self.attribute or self.name.replace("-", "_")


def text(fits: Callable[[str], bool], *, code: str, **limits: object) -> Shape:
    """Text of some kind, and not empty; `code` is ``KIND-malformed``."""
    kind = code.removesuffix("-malformed").replace("-", " ")

    def read(value: object, where: Where, reading: Reading) -> Any:
        if not isinstance(value, str):
            return reading.wrong(where, value, "text")
        words = f"{value[:80]!r} is no {kind}"
        whole = value and fits(value)
        return value if whole else reading.report(code, where, words)

    return Shape(read, {"type": "string", "minLength": 1, **limits})


def said(problems: Callable[[str], Iterable[Problem]], **limits: object) -> Shape:
    """Text with problems of its own; a number is reported, and looked at as text."""

    def read(value: object, where: Where, reading: Reading) -> Any:
        if not isinstance(value, str):
            reading.wrong(where, value, "text (quote it)")
            if type(value) is not int:
                return UNREAD
        reading.problems.extend(problems(str(value)))
        return str(value)

    return Shape(read, {"type": "string", **limits})


def choice(kind: type[StrEnum]) -> Shape:
    """One of some words."""
    expected = " or ".join(f"`{member.value}`" for member in kind)

    def read(value: object, where: Where, reading: Reading) -> Any:
        found = [member for member in kind if value == member.value]
        return found[0] if found else reading.wrong(where, value, expected)

    return Shape(read, {"enum": [member.value for member in kind]}, str)


def whole(most: int) -> Shape:
    """A whole number from 1 on."""

    def read(value: object, where: Where, reading: Reading) -> Any:
        fits = type(value) is int and 0 < value <= most
        return value if fits else reading.wrong(where, value, f"a whole number from 1 to {most}")

    return Shape(read, {"type": "integer", "minimum": 1, "maximum": most})


def flag() -> Shape:
    """Yes or no."""

    def read(value: object, where: Where, reading: Reading) -> Any:
        return (
            value if isinstance(value, bool) else reading.wrong(where, value, "`true` or `false`")
        )

    return Shape(read, {"type": "boolean"})


def record(kind: type[Any], *keys: Key, expected: str = "") -> Shape:
    """A mapping with keys of its own, which becomes an attrs class."""
    names = [key.name for key in keys]
    defaults = {key.name: fields_dict(kind)[key.target].default for key in keys}

    def read(value: object, where: Where, reading: Reading) -> Any:
        if not isinstance(value, Mapping):
            return reading.wrong(where, value, expected)
        for name in (name for name in value if name not in names):
            remedy = f"known are: {', '.join(names)}"
            reading.report("key-unknown", (*where, name), "this key is not known here", remedy)
        found = {
            key.target: _member(key, defaults[key.name], value, where, reading) for key in keys
        }
        return UNREAD if UNREAD in found.values() else kind(**found)

    def write(value: Any) -> object:
        if not isinstance(value, kind):
            return _nonsense(value)
        found = [(key, getattr(value, key.target)) for key in keys]
        kept = ((k, each) for k, each in found if not (k.seldom and each == defaults[k.name]))
        return {key.name: key.shape.write(each) for key, each in kept}

    required = [name for name in names if defaults[name] is NOTHING]
    properties = {key.name: _of_key(key, defaults[key.name]) for key in keys}
    schema = {"type": "object", "additionalProperties": False, "required": required}
    return Shape(read, {**schema, "properties": properties}, write, kind)


def _member(
    key: Key, default: Any, value: Mapping[str, object], where: Where, reading: Reading
) -> Any:
    found = UNREAD
    if key.name in value:
        found = key.shape.read(value[key.name], (*where, key.name), reading)
    elif default is not NOTHING:
        return default
    elif key.missing is not None:
        reading.report("key-missing", (*where, key.name), *key.missing)
    if found is not UNREAD:
        return found
    return key.instead if key.instead is not UNREAD or default is NOTHING else default


def _of_key(key: Key, default: Any) -> dict[str, object]:
    """The schema of a key's value."""
    shown = default is not NOTHING and (default or default is False)
    plain = {"default": key.shape.write(default)} if shown else {}
    return {**({"description": key.says} if key.says else {}), **key.shape.schema, **plain}


def one_of(
    words: Mapping[str, type[Any]], records: Mapping[str, Shape], expected: str, instead: object
) -> Shape:
    """A word that stands for a class, or a record that is known by one key; else `instead`."""

    def read(value: object, where: Where, reading: Reading) -> Any:
        if isinstance(value, str) and value in words:
            return words[value]()
        for key, shape in records.items():
            if isinstance(value, Mapping) and key in value:
                found = shape.read(value, where, reading)
                return instead if found is UNREAD else found
        reading.wrong(where, value, expected)
        return instead

    def write(value: Any) -> object:
        for word, kind in words.items():
            if isinstance(value, kind):
                return word
        shapes = (shape for shape in records.values() if isinstance(value, shape.kind))
        return next((shape.write(value) for shape in shapes), _nonsense(value))

    schemas = [{"enum": list(words)}, *(shape.schema for shape in records.values())]
    return Shape(read, {"oneOf": schemas}, write)


def named(names: Shape, values: Shape, expected: str) -> Shape:
    """Names, each with a value; it becomes pairs, in the order of the file."""

    def read(value: object, where: Where, reading: Reading) -> Any:
        if not isinstance(value, Mapping):
            return reading.wrong(where, value, expected)
        return tuple(
            (name, values.read(each, (*where, name), reading))
            for name, each in value.items()
            if names.read(name, (*where, name), reading) is not UNREAD
        )

    def write(value: Any) -> object:
        return {name: values.write(each) for name, each in value}

    schema = {"propertyNames": names.schema, "additionalProperties": values.schema}
    return Shape(read, {"type": "object", **schema}, write)


def _nonsense(value: object) -> str:
    """What is no value of any shape, so that a reader refuses it; it shows what was meant."""
    return f"a {type(value).__name__}"
