"""YAML text into plain values; `planner.model.text` says by which rules.

Apart from it, since most files of snapplan are JSON, and a YAML parser takes its time to import.
"""

from __future__ import annotations

from typing import Any

import yaml

from planner.errors import Problem
from planner.model.text import LIMIT_DEPTH, Document, first_line, key_twice, too_deep, unreadable

__all__ = ["read_yaml"]

_LIMIT_BITS = 1024


def read_yaml(text: str, source: str) -> Document:
    """Read YAML; see `planner.model.text.read_text`.

    Raises:
        BadInput: It is no YAML, or more than a file of ours needs, or nests too deeply.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        _refuse_extras(text, source)
        node = loader.get_single_node()
        return _Plain(loader, source).document(node)
    except yaml.YAMLError as error:
        raise unreadable(source, _yaml_words(error)) from error
    except (RecursionError, ValueError) as error:
        raise unreadable(source, first_line(error)) from error
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
        if depth > LIMIT_DEPTH + 1:
            raise too_deep(source)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise unreadable(source, f"line {line}: anchors and aliases are not taken")
        # What PyYAML makes of `!!timestamp x` or `!!bool x` is a traceback.
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise unreadable(source, f"line {line}: tags such as {tag!r} are not taken")


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
        if len(path) > LIMIT_DEPTH:
            raise too_deep(self._source)
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
            raise unreadable(self._source, f"{where}: a number is longer than {_LIMIT_BITS} bits")
        return value

    def _mapping(self, node: yaml.MappingNode, path: tuple[str, ...]) -> dict[str, object]:
        result: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                line = _line(key_node.start_mark)
                raise unreadable(self._source, f"line {line}: a key must be text")
            key = str(key_node.value)
            line = _line(key_node.start_mark)
            if key in result:
                self._problems.append(key_twice(key, f" (line {line})"))
            self._lines[(*path, key)] = line
            result[key] = self._value(value_node, (*path, key))
        return result


def _line(mark: Any) -> int:
    # The C and the Python loader have a mark class each; a synthetic node has none.
    return 0 if mark is None else int(mark.line) + 1


def _yaml_words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    words = getattr(error, "problem", None) or first_line(error)
    return f"line {mark.line + 1}: {words}" if mark is not None else str(words)
