"""stdout and stderr that show what others named, and never obey it; and one encoding for all names.

Rules: everything that a command says goes through `planner.present.visible.guard`, whoever wrote it
there.  Only the progress line has control characters of its own; it is written by `unguarded`, and its
words are made visible first.  Where the encoding is not UTF-8, what is not ASCII is escaped: JSON is
UTF-8 or ASCII wherever it goes, and every name can be told.

QEMU's names are UTF-8 whatever the locale.  Python in another locale would spell a file's name in other
bytes, and mean another file; so it is started again in its UTF-8 mode, and the locale counts for what is
shown only.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import Any, TextIO

from planner.present.visible import guard

__all__ = ["Guarded", "unguarded", "use_utf8"]


class Guarded(io.TextIOWrapper):
    """A text stream that takes every text."""

    def __init__(self, buffer: Any, encoding: str, *, line_buffering: bool) -> None:
        name = codecs.lookup(encoding).name
        self._ascii = name != "utf-8"
        # click takes a stream that says it is ASCII for a mistake, and writes past it.
        given = "latin-1" if name == "ascii" else encoding
        super().__init__(buffer, given, line_buffering=line_buffering)

    def write(self, text: str) -> int:
        """Write what may be shown of it."""
        super().write(guard(text, ascii_only=self._ascii))
        return len(text)


_kept: list[TextIO] = []


def unguarded(stream: TextIO) -> TextIO:
    """The same stream for control characters of our own."""
    if not isinstance(stream, Guarded):
        return stream
    opened = io.TextIOWrapper(
        stream.buffer, stream.encoding, "backslashreplace", write_through=True
    )
    _kept.append(opened)  # whose end would close what both write to
    return opened


def use_utf8() -> None:
    """Start this process again in Python's UTF-8 mode, unless file names are UTF-8 already."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "utf-8" or sys.flags.utf8_mode:
        return
    shown = {"PYTHONIOENCODING": getattr(sys.stdout, "encoding", None) or "utf-8"}
    environment = {**os.environ, **shown, "PYTHONUTF8": "1"}
    with contextlib.suppress(OSError):  # then names that are not ASCII cannot be used
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606
