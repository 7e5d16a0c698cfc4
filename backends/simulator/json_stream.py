"""QEMU's JSON reader: values from a stream of bytes, without any framing, and its error texts.

Theory: QEMU needs no newline between two commands and allows a command to span lines; a value ends
where its brackets balance.  It also takes ``'single quotes'``.  After an error it goes on behind the
token that was wrong.  The common case, one well-formed value, is read by Python's json; everything
else by a small parser that says what QEMU says.  From 11.1 on, texts begin with line and column.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from attrs import frozen

__all__ = ["JsonProblem", "JsonStream"]

NESTING_LIMIT = 1024
TOKEN_LIMIT_BYTES = 64 * 2**20

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRUCTURE = re.compile(rb"""["'\[\]{}]""")
_STRING_END = {
    0x22: re.compile(rb'(?:[^"\\]|\\.)*"', re.DOTALL),
    0x27: re.compile(rb"(?:[^'\\]|\\.)*'", re.DOTALL),
}
_BARE = re.compile(rb"[^ \t\r\n\"'\[\]{}:,]+")
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\x00-\x1f]|\\.)*"|'(?:[^'\\\x00-\x1f]|\\.)*')"""
    r"""|(?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"""
    r"""|(?P<word>[a-z]+)|(?P<mark>[\[\]{}:,])|(?P<stray>["'][^\x00-\x1f"']*[\x00-\x1f]?|.)""",
    re.DOTALL,
)
_WORDS: dict[str, object] = {"true": True, "false": False, "null": None}
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


@frozen
class JsonProblem:
    """Input that is no JSON value, as QEMU says it."""

    text: str


class JsonStream:
    """Reads values from chunks of bytes.

    Args:
        positions: Whether error texts begin with line and column (11.1).
        limit_bytes: Longest input for one value.
    """

    def __init__(self, *, positions: bool = False, limit_bytes: int = TOKEN_LIMIT_BYTES) -> None:
        self._buffer = b""
        self._positions = positions
        self._limit_bytes = limit_bytes
        self._line = 1
        self._column = 1

    def feed(self, chunk: bytes) -> Iterator[object | JsonProblem]:
        """The values and problems that are complete with this chunk."""
        self._buffer += chunk
        while True:
            self._take(_match_end(_SPACE, self._buffer, 0))
            end = _value_end(self._buffer)
            if end is None:
                break
            line, column = self._line, self._column
            yield self._value(self._take(end), line, column)
        if len(self._buffer) > self._limit_bytes:
            self._buffer = b""
            yield self._problem("JSON token size limit exceeded", self._line, self._column)

    def _take(self, end: int) -> bytes:
        taken, self._buffer = self._buffer[:end], self._buffer[end:]
        lines = taken.count(b"\n")
        if lines:
            self._line += lines
            self._column = 1
        self._column += end - (taken.rfind(b"\n") + 1)
        return taken

    def _value(self, data: bytes, line: int, column: int) -> object | JsonProblem:
        try:
            text = data.decode()
        except UnicodeDecodeError:
            shown = data.decode(errors="replace")
            return self._problem(f"JSON parse error, stray '{shown}'", line, column)
        if not _SURROGATE.search(text):
            try:
                found: object = json.loads(
                    text, object_pairs_hook=_unique, parse_constant=_no_constant
                )
                return found
            except (ValueError, RecursionError):
                pass  # the slow reader below says what is wrong, or reads single quotes
        try:
            return _Parser(text).parse()
        except _ParseError as error:
            before = text[: error.position]
            break_at = before.rfind("\n")
            offset = error.position if break_at < 0 else error.position - break_at - 1
            column = column + offset if break_at < 0 else offset + 1
            said = error.newer if self._positions else error.text
            return self._problem(said, line + before.count("\n"), column)

    def _problem(self, text: str, line: int, column: int) -> JsonProblem:
        return JsonProblem(f"{line}:{column}: {text}" if self._positions else text)


def _match_end(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    found = pattern.match(data, start)
    return found.end() if found else start


def _value_end(data: bytes) -> int | None:
    """Where the first value of the data ends; None if it is not all there yet."""
    if not data:
        return None
    if data[:1] not in b"\"'[]{}":
        if data[:1] in b":,":
            return 1
        end = _match_end(_BARE, data, 0)
        return end if end < len(data) else None  # a bare word ends at what follows it
    depth, at = 0, 0
    while True:
        found = _STRUCTURE.search(data, at)
        if found is None:
            return None
        mark, at = data[found.start()], found.end()
        if mark in _STRING_END:
            string = _STRING_END[mark].match(data, at)
            if string is None:
                return None
            at = string.end()
        else:
            depth += 1 if mark in b"[{" else -1
        if depth <= 0 or depth > NESTING_LIMIT:
            return at


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


class _ParseError(Exception):
    def __init__(self, text: str, position: int, newer: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.position = position
        self.newer = newer or text


class _Parser:
    """Reads one value the slow way; its errors are QEMU's."""

    def __init__(self, text: str) -> None:
        self.tokens = [m for m in _TOKEN.finditer(text) if not m.group().isspace()]
        self.at = 0
        self.end = len(text)

    def parse(self) -> object:
        return self._value(0)

    def _next(self) -> re.Match[str]:
        if self.at >= len(self.tokens):
            raise _ParseError("JSON parse error, premature EOI", self.end)
        token = self.tokens[self.at]
        self.at += 1
        if token.lastgroup == "stray":
            raise _ParseError(f"JSON parse error, stray '{token.group()}'", token.start())
        return token

    def _value(self, depth: int) -> object:
        if depth > NESTING_LIMIT:
            raise _ParseError("JSON nesting depth limit exceeded", 0)
        token = self._next()
        text = token.group()
        if text == "{":
            return self._object(depth)
        if text == "[":
            return self._array(depth)
        if token.lastgroup == "string":
            return _string(token)
        if token.lastgroup == "number":
            return json.loads(text)
        if token.lastgroup == "word":
            if text in _WORDS:
                return _WORDS[text]
            raise _ParseError(f"JSON parse error, invalid keyword '{text}'", token.start())
        raise _ParseError("JSON parse error, expecting value", token.start())

    def _object(self, depth: int) -> dict[str, object]:
        found: dict[str, object] = {}
        if self._peek() == "}":
            self._next()
            return found
        while True:
            token = self._next()
            if token.lastgroup != "string":
                newer = "JSON parse error, expecting key"
                older = newer if token.lastgroup != "mark" else "JSON parse error, expecting value"
                raise _ParseError(older, token.start(), newer)
            key = _string(token)
            colon = self._next()
            if colon.group() != ":":
                raise _ParseError("JSON parse error, missing : in object pair", colon.start())
            value = self._value(depth + 1)
            if key in found:
                raise _ParseError("JSON parse error, duplicate key", token.start())
            found[key] = value
            if self._separated("}", "JSON parse error, expected separator in dict"):
                return found

    def _array(self, depth: int) -> list[object]:
        found: list[object] = []
        if self._peek() == "]":
            self._next()
            return found
        while True:
            found.append(self._value(depth + 1))
            if self._separated("]", "JSON parse error, expected separator in list"):
                return found

    def _separated(self, closing: str, problem: str) -> bool:
        token = self._next()
        if token.group() not in {closing, ","}:
            raise _ParseError(problem, token.start())
        return token.group() == closing

    def _peek(self) -> str:
        return self.tokens[self.at].group() if self.at < len(self.tokens) else ""


def _string(token: re.Match[str]) -> str:
    text = token.group()
    if text[0] == "'":
        inner = text[1:-1].replace("\\'", "'")
        text = '"' + re.sub(r'(?<!\\)"', r"\"", inner) + '"'
    try:
        value = str(json.loads(text))
        value.encode()
    except UnicodeEncodeError:
        escape = _SURROGATE.search(text)
        shown = escape.group() if escape else text
        problem = f"JSON parse error, {shown} is not a valid Unicode character"
        raise _ParseError(problem, token.start()) from None
    except ValueError:
        raise _ParseError("JSON parse error, invalid escape sequence", token.start()) from None
    return value
