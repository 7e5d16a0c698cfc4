"""The journal of a run: what the machine asked for and was told, so that the run can be gone on with.

Theory: the machine is deterministic, so a run *is* the list of its (action, response, events).  Told the
same again, a new machine stands where the old one stood, with all that it knew.  Nothing else has to be
saved, and nothing that is saved can contradict the code.

A journal is text, a record a line: a header, then for each action

- an *intent*, on the disk before anything is done that may change the VM or the host;
- a *result*, on the disk before anything is done that follows from it.

An intent without a result is the unknown step.  Questions have no intent, and their results reach the
disk with the next intent: a lost answer is asked for again.  Each line carries its number and a
checksum.  A last line that is torn is normal and is no record: nothing was done before it was whole on
the disk.

Pure: `planner.store.journal_file` keeps the text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_origin

from attrs import frozen
from cattrs import Converter

from planner.errors import BadInput, Problem
from planner.host.processes import Process
from planner.model.ancestor import Ancestor
from planner.model.group_run import GroupRun
from planner.model.strict import strict_converter, structured, write_with_hyphens
from planner.program.gates import Gate
from planner.program.program import FLUSHES
from planner.run.actions import (
    Action,
    AtGate,
    AwaitEvent,
    ErrorReply,
    HostDo,
    ListImage,
    NoAnswer,
    NotSent,
    Poll,
    Reconnect,
    Response,
    Returned,
    Send,
    Tell,
)
from planner.run.journal_records import Again, Header, Intent, Record, Result
from planner.run.journal_values import plain, value_from_plain
from planner.run.observation import Baseline
from planner.run.ports import Event

__all__ = [
    "Again",
    "Header",
    "Intent",
    "Journal",
    "Record",
    "Result",
    "changes_something",
    "checksum",
    "journal_line",
    "read_journal",
]

FORMAT = "snapplan-journal"
FORMAT_VERSION = 1
_CHECKSUM_CHARACTERS = 16
_DECIDING = (Gate.COMMIT, Gate.LOAD, Gate.LOADED)
"""Once all members are at one of these, what the group does is decided: that they are has to last."""
_QUESTIONS = ("query-", "qom-get", "qom-list", "x-debug-query-")


@frozen
class Journal:
    """A journal as read.

    Attributes:
        header: What the run began with.
        records: What it did, in order.
        size_bytes: Length of what is whole; what stands after it is torn.
        torn: Whether something stands after it.
    """

    header: Header
    records: tuple[Record, ...]
    size_bytes: int
    torn: bool = False


def changes_something(action: Action) -> bool:
    """Whether an action may change the VM or the host; what is not known to be harmless may."""
    if isinstance(action, Send):
        return not all(each.command.startswith(_QUESTIONS) for each in (action, *action.then))
    if isinstance(action, HostDo) and action.instruction in FLUSHES:
        return False
    if isinstance(action, AtGate):
        return action.gate in _DECIDING
    return not isinstance(action, AwaitEvent | ListImage | Poll | Reconnect | Tell)


def _is_frozenset(kind: object) -> bool:
    return bool(get_origin(kind) is frozenset)


@cache  # most commands need few of these, and each takes its time to make
def _converter() -> Converter:
    converter = strict_converter()
    converter.register_unstructure_hook(Returned, _returned_to_plain)
    converter.register_structure_hook(Returned, lambda told, _: _returned(told))
    converter.register_unstructure_hook_func(_is_frozenset, sorted)
    converter.register_unstructure_hook(Response, _response_to_plain)
    converter.register_structure_hook(Response, lambda told, _: _response(told))
    for kind in (
        ErrorReply,
        NotSent,
        NoAnswer,
        Event,
        Baseline,
        Process,
        Ancestor,
        GroupRun,
        Intent,
        Result,
        Again,
    ):
        write_with_hyphens(converter, kind)
    write_with_hyphens(converter, Header, seldom=("becomes", "group"))
    return converter


_RESPONSES: dict[str, type[Any]] = {
    "returned": Returned,
    "turned": ErrorReply,
    "withheld": NotSent,
    "no-answer": NoAnswer,
}
_RECORDS: dict[str, type[Any]] = {
    "header": Header,
    "intent": Intent,
    "result": Result,
    "again": Again,
}


def _returned_to_plain(told: Returned) -> dict[str, object]:
    body: dict[str, object] = {"value": plain(told.value)}
    if told.then:
        body["then"] = [_response_to_plain(each) for each in told.then]
    return body


def _returned(told: object) -> Returned:
    if not isinstance(told, dict) or not {"value"} <= set(told) <= {"value", "then"}:
        raise ValueError("it is no response")
    then = told.get("then", [])
    if not isinstance(then, list):
        raise ValueError("its `then` is no list of responses")
    return Returned(value_from_plain(told["value"]), tuple(_response(each) for each in then))


def _response_to_plain(response: Response) -> dict[str, object]:
    return {_name_of(response, _RESPONSES): _converter().unstructure(response, type(response))}


def _response(told: object) -> Response:
    if not isinstance(told, dict) or len(told) != 1:
        raise ValueError("it is no response")
    [(name, body)] = told.items()
    if name not in _RESPONSES:
        raise ValueError(f"no response is called {str(name)[:40]!r}")
    response: Response = _converter().structure(body, _RESPONSES[name])
    return response


def _name_of(value: object, kinds: Mapping[str, type[Any]]) -> str:
    return next(name for name, kind in kinds.items() if type(value) is kind)


def journal_line(number: int, record: Header | Record) -> str:
    """A record as its line; the header is number 0."""
    body: dict[str, object] = _converter().unstructure(record)
    content = {"number": number, "record": _name_of(record, _RECORDS), **body}
    if isinstance(record, Header):
        content |= {"format": FORMAT, "format-version": FORMAT_VERSION}
    return _dump({"checksum": checksum(content), **content}) + "\n"


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def checksum(content: Mapping[str, object]) -> str:
    """What a line says of its own content: against accident, not against forgery."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:_CHECKSUM_CHARACTERS]


def read_journal(raw: bytes, source: str = "journal") -> Journal:
    """Read a journal.

    Args:
        raw: The file's bytes.
        source: Its name, for messages.

    Raises:
        BadInput: It is no journal (``journal-malformed``), or what must have been whole on the disk
            is not (``journal-damaged``).
    """
    lines = raw.split(b"\n")
    contents = [_content(line, number) for number, line in enumerate(lines[:-1])]
    whole = next((n for n, content in enumerate(contents) if content is None), len(contents))
    _check_tail(contents[whole:], source)
    if whole == 0:
        raise _bad("journal-malformed", source, "it has no whole header")
    records = [_record(content, n, source) for n, content in enumerate(_known(contents[:whole]))]
    header, *rest = records
    if not isinstance(header, Header):
        raise _bad("journal-malformed", source, "it does not begin with a header")
    size = sum(len(line) + 1 for line in lines[:whole])
    later = tuple(_no_header(record, source) for record in rest)
    return Journal(header, later, size, torn=size < len(raw))


def _known(contents: Sequence[dict[str, Any] | None]) -> Iterator[dict[str, Any]]:
    return (content for content in contents if content is not None)


def _no_header(record: Header | Record, source: str) -> Record:
    if not isinstance(record, Header):
        return record
    raise _bad("journal-malformed", source, "it has two headers")


def _content(line: bytes, number: int) -> dict[str, Any] | None:
    """A line's content; None where it is not whole."""
    try:
        value = json.loads(line)
        if not isinstance(value, dict):
            return None
        stated = value.pop("checksum", None)
        whole = stated == checksum(value) and value.get("number") == number
    except (ValueError, RecursionError):
        return None
    return value if whole else None


def _check_tail(contents: Sequence[dict[str, Any] | None], source: str) -> None:
    # A result of a change is written only when its intent, and all before, was on the disk: whatever
    # stands unreadable before one was whole once.
    for content in _known(contents):
        if content.get("record") == "result" and content.get("changed"):
            raise _bad("journal-damaged", source, "a record in its middle is not whole")


def _record(content: dict[str, Any], number: int, source: str) -> Header | Record:
    kind = _RECORDS.get(str(content.pop("record", "")))
    del content["number"]
    if kind is Header and (
        content.pop("format", None) != FORMAT
        or content.pop("format-version", None) != FORMAT_VERSION
    ):
        raise _bad("journal-malformed", source, f"it is no {FORMAT} of version {FORMAT_VERSION}")
    if kind is None:
        raise _bad("journal-malformed", source, f"record {number} is of no known kind")
    try:
        made: Header | Record = structured(_converter(), content, kind)
    except (ValueError, TypeError) as error:
        raise _bad("journal-malformed", source, f"record {number}: {error}") from error
    return made


def _bad(code: str, source: str, why: str) -> BadInput:
    remedy = "look at the VM by hand; then `snapplan recover --forget` removes it"
    problem = Problem(code, source, why, remedy)
    return BadInput(f"{source} cannot be used: {why}", problems=(problem,), code=code)
