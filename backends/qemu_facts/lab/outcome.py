"""What an experiment says of what it sees: as the fact tells, otherwise, mended, or not to be run.

An experiment ends well, or raises one of these.  Whatever else it raises (no answer in time, a
connection that broke, an answer that lacks a member) is otherwise than the fact tells, too.
"""

from __future__ import annotations

import contextlib
import linecache
import re
import sys
from collections.abc import Container, Iterator

__all__ = [
    "Differs",
    "Fixed",
    "NotRun",
    "defect",
    "differs",
    "found",
    "holds",
    "missing",
    "raises",
    "same",
]

_LONGEST = 300


class Differs(AssertionError):
    """QEMU did something else than the fact tells."""


class Fixed(AssertionError):
    """The fact is about a defect, and this QEMU does what is right."""


class NotRun(Exception):
    """The experiment needs something that is not here; the words say what."""


def same(seen: object, expected: object) -> None:
    """What was seen is this.

    Raises:
        Differs: It is something else.
    """
    if seen != expected:
        raise Differs(f"{_claim()}: {_short(seen)}, not {_short(expected)}")


def differs(seen: object, other: object) -> None:
    """What was seen is not that.

    Raises:
        Differs: It is.
    """
    if seen == other:
        raise Differs(f"{_claim()}: {_short(seen)}")


def found(what: object, where: Container[object]) -> None:
    """It is in there.

    Raises:
        Differs: It is not.
    """
    if what not in where:
        raise Differs(f"{_claim()}: {_short(what)} is not in {_short(where)}")


def missing(what: object, where: Container[object]) -> None:
    """It is not in there.

    Raises:
        Differs: It is.
    """
    if what in where:
        raise Differs(f"{_claim()}: {_short(what)} is in {_short(where)}")


def holds(truth: object, words: str = "") -> None:
    """It is so.

    Raises:
        Differs: It is not; said with the words, or with the line that claims it.
    """
    if not truth:
        raise Differs(f"not so: {words or _claim()}")


def defect(seen: object, *, known: object, right: object) -> None:
    """QEMU still has a defect; what it would do without is known.

    Raises:
        Fixed: It does that.
        Differs: It does something third.
    """
    if seen == right:
        raise Fixed(f"{_claim()}: {_short(seen)}, as is right")
    if seen != known:
        raise Differs(f"{_claim()}: {_short(seen)}, not {_short(known)}")


@contextlib.contextmanager
def raises(kind: type[BaseException], match: str = "") -> Iterator[None]:
    """What is done here ends with an error of this kind, whose words match.

    Raises:
        Differs: It does not.
    """
    try:
        yield
    except kind as error:
        if not re.search(match, str(error)):
            raise Differs(f"{_short(str(error))}, not {match}") from error
        return
    raise Differs(f"no {kind.__name__}: it was done")


def _claim() -> str:
    """The line of the experiment that claims what is not so."""
    frame = sys._getframe(2)  # noqa: SLF001 - who called `same` or another of these
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals).strip()
    return _short(line, quoted=False) or "seen"


def _short(value: object, *, quoted: bool = True) -> str:
    text = repr(value) if quoted else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
