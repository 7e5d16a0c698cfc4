"""YAML and JSON text into plain values, with a line for every mapping key, and nothing lost.

Rules: a key that stands twice is reported, not overwritten; anchors, aliases and tags are refused
(a request needs none, and they can make a small file large); nesting and size are bounded.
"""

from __future__ import annotations

import json
from typing import Any

import yaml
from attrs import field, frozen

from planner.errors import BadInput, Problem

__all__ = ["Document", "json_object", "read_json", "read_text"]

_LIMIT_CHARACTERS = 4_000_000
_LIMIT_DEPTH = 40
_LIMIT_BITS = 1024


@frozen
class Document:
    """Plain values and what was noticed while they were read.

    Attributes:
        value: Dictionaries, lists and scalars.
        problems: Keys that stand twice.
        lines: The line of each mapping key, by its path from the top.
    """

    value: object
    problems: tuple[Problem, ...] = ()
    lines: dict[tuple[str, ...], int] = field(factory=dict, eq=False)


def read_text(text: str, source: str) -> Document:
    """Read YAML or JSON (which is told by its first character).

    Args:
        text: The file's contents.
        source: The file's name, for messages.

    Raises:
        BadInput: The text is neither, or is too large, or nests too deeply.
    """
    if len(text) > _LIMIT_CHARACTERS:
        raise _unreadable(source, f"it is longer than {_LIMIT_CHARACTERS} characters")
    if text.lstrip()[:1] in ("{", "["):
        return read_json(text, source)
    return _read_yaml(text, source)


def read_json(text: str, source: str) -> Document:
    """Read JSON, reporting keys that stand twice; see `read_text`."""
    twice: list[Problem] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in items:
            if key in result:
                twice.append(_twice(key, ""))
            result[key] = value
        return result

    def refuse_constant(name: str) -> object:
        raise ValueError(f"{name} is no JSON")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _unreadable(source, _first_line(error)) from error
    return Document(value, tuple(twice))


def json_object(text: str | bytes) -> dict[str, Any] | None:
    """The JSON object that a text of somebody else is; None: it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _read_yaml(text: str, source: str) -> Document:
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        _refuse_extras(text, source)
        node = loader.get_single_node()
        return _Plain(loader, source).document(node)
    except yaml.YAMLError as error:
        raise _unreadable(source, _yaml_words(error)) from error
    except (RecursionError, ValueError) as error:
        raise _unreadable(source, _first_line(error)) from error
    finally:
        if loader is not None:
            loader.dispose()


def _refuse_extras(text: str, source: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = _line(event.start_mark)
        # Before the whole is read: what PyYAML does for each bracket grows with the open ones.
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _LIMIT_DEPTH + 1:
            raise _too_deep(source)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _unreadable(source, f"line {line}: anchors and aliases are not taken")
        # What PyYAML makes of `!!timestamp x` or `!!bool x` is a traceback.
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _unreadable(source, f"line {line}: tags such as {tag!r} are not taken")


class _Plain:
    """Turns a tree of YAML nodes into plain values, remembering lines and doubled keys."""

    def __init__(self, loader: yaml.SafeLoader, source: str) -> None:
        self._loader = loader
        self._source = source
        self._problems: list[Problem] = []
        self._lines: dict[tuple[str, ...], int] = {}

    def document(self, node: yaml.Node | None) -> Document:
        value = None if node is None else self._value(node, ())
        return Document(value, tuple(self._problems), self._lines)

    def _value(self, node: yaml.Node, path: tuple[str, ...]) -> object:
        if len(path) > _LIMIT_DEPTH:
            raise _too_deep(self._source)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, str(i))) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> object:
        value: object = self._loader.construct_object(node, deep=True)
        # Hexadecimal digits make a number of any size, and Python cannot even print a large one.
        if isinstance(value, int) and value.bit_length() > _LIMIT_BITS:
            where = f"line {_line(node.start_mark)}"
            raise _unreadable(self._source, f"{where}: a number is longer than {_LIMIT_BITS} bits")
        return value

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                line = _line(key_node.start_mark)
                raise _unreadable(self._source, f"line {line}: a key must be text")
            key = str(key_node.value)
            line = _line(key_node.start_mark)
            if key in result:
                self._problems.append(_twice(key, f" (line {line})"))
            self._lines[(*path, key)] = line
            result[key] = self._value(value_node, (*path, key))
        return result


def _line(mark: Any) -> int:
    # The C and the Python loader have a mark class each; a synthetic node has none.
    return 0 if mark is None else int(mark.line) + 1


def _twice(key: str, where: str) -> Problem:
    return Problem(
        "key-twice", key, f"the key stands twice in one mapping{where}", "keep one of the two"
    )


def _unreadable(source: str, why: str) -> BadInput:
    problem = Problem("text-unreadable", source, why)
    return BadInput(f"{source} cannot be read: {why}", problems=(problem,), code=problem.code)


def _too_deep(source: str) -> BadInput:
    return _unreadable(source, f"it nests deeper than {_LIMIT_DEPTH} levels")


def _yaml_words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    words = getattr(error, "problem", None) or _first_line(error)
    return f"line {mark.line + 1}: {words}" if mark is not None else str(words)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
