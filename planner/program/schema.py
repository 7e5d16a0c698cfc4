"""Whether a command fits a VM: its name and arguments against the VM's own `query-qmp-schema`.

QMP's schema differs between versions (`migrate` lost ``blk`` and ``inc`` by 10.0 and ``detach`` by
11.1: fact 31), so a command is checked against what this VM says of itself before any is sent.
The entries are those of the QMP specification's introspection: an index of types by name, each
builtin, enum, array, object (with variants), alternate, command or event.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from attrs import field, frozen

from planner.errors import Problem

__all__ = ["COMMANDS", "CommandSchema", "KeptSchema", "kept_schema", "reachable"]

COMMANDS = (
    "add-fd",
    "block-commit",
    "blockdev-add",
    "blockdev-del",
    "blockdev-set-active",
    "blockdev-snapshot",
    "blockdev-snapshot-delete-internal-sync",
    "blockdev-snapshot-internal-sync",
    "closefd",
    "cont",
    "getfd",
    "job-cancel",
    "job-complete",
    "job-dismiss",
    "migrate",
    "migrate-continue",
    "migrate-set-capabilities",
    "migrate-set-parameters",
    "migrate_cancel",
    "query-block",
    "query-block-jobs",
    "query-blockstats",
    "query-fdsets",
    "query-jobs",
    "query-migrate",
    "query-migrate-capabilities",
    "query-migrate-parameters",
    "query-named-block-nodes",
    "query-status",
    "query-version",
    "remove-fd",
    "snapshot-delete",
    "snapshot-load",
    "snapshot-save",
    "stop",
    "transaction",
)
"""The commands whose schema is kept in facts: all that a program or its undo may send."""

_TAG_OF_BLOCK_DRIVERS = "driver"
_BLOCK_DRIVERS = frozenset({"file", "qcow2"})
"""The block drivers that a program adds; forty others would make facts four times as long."""

_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "object": (dict,),
    "array": (list,),
}

Entry = Mapping[str, Any]


def reachable(entries: Iterable[Entry], commands: Iterable[str] = COMMANDS) -> tuple[Entry, ...]:
    """The entries of commands and of every type that their arguments use, in order of name."""
    by_name = {str(entry.get("name")): entry for entry in entries}
    wanted = [name for name in commands if by_name.get(name, {}).get("meta-type") == "command"]
    seen: dict[str, Entry] = {}
    while wanted:
        name = wanted.pop()
        if name in seen or name not in by_name:
            continue
        entry = by_name[name]
        seen[name] = _pruned(entry)
        wanted.extend(_uses(seen[name]))
    return tuple(seen[name] for name in sorted(seen))


class KeptSchema(tuple[Entry, ...]):
    """What snapplan keeps of a `query-qmp-schema` reply (`kept_schema`)."""

    __slots__ = ()


def kept_schema(reply: object) -> KeptSchema:
    """The entries of a reply that snapplan looks at.

    Raises:
        ValueError: It is no list of objects, or an entry is unusable.
    """
    if isinstance(reply, KeptSchema):
        return reply
    if not isinstance(reply, list) or not all(isinstance(entry, dict) for entry in reply):
        raise ValueError("it is no list of objects")
    try:
        kept = reachable(reply)
        json.dumps(kept, allow_nan=False)  # facts are kept as JSON, which has no infinity
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"an entry is unusable: {error}") from error
    return KeptSchema(kept)


def _pruned(entry: Entry) -> Entry:
    """An entry without what no program needs: results, and block drivers that are never added."""
    kept = {key: value for key, value in entry.items() if key != "ret-type"}
    if entry.get("tag") == _TAG_OF_BLOCK_DRIVERS:
        kept["variants"] = [v for v in entry["variants"] if v.get("case") in _BLOCK_DRIVERS]
    return kept


def _uses(entry: Entry) -> Iterator[str]:
    for key in ("arg-type", "element-type"):
        if key in entry:
            yield entry[key]
    for member in entry.get("members", ()):
        if isinstance(member, Mapping) and "type" in member:
            yield member["type"]
    for variant in entry.get("variants", ()):
        yield variant["type"]


@frozen
class _Members:
    """What an object may and must have, as its type says."""

    types: Mapping[str, str]
    required: tuple[str, ...]


# Where below a value something is wrong (``.data.name``, ``[3]``), and what.
_Found = Iterable[tuple[str, str]]


@frozen
class CommandSchema:
    """A VM's QMP schema, ready to check commands against.

    Attributes:
        entries: The schema's entries by name; empty where nothing is known of the VM.
    """

    entries: Mapping[str, Entry] = field(repr=False)
    _members: dict[tuple[str, object], _Members] = field(
        factory=dict, init=False, eq=False, repr=False
    )

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> CommandSchema:
        """Index the entries of a `query-qmp-schema` reply or of facts."""
        return cls({str(entry.get("name")): entry for entry in entries})

    def has_command(self, name: str) -> bool:
        """Whether this VM knows the command."""
        return self.entries.get(name, {}).get("meta-type") == "command"

    def problems(self, execute: str, arguments: Mapping[str, object]) -> list[Problem]:
        """Say how a command does not fit; an empty answer means that the VM can take it."""
        if not self.has_command(execute):
            return [Problem("command-lacking", execute, "this QEMU has no such command")]
        try:
            found = list(self._check(self.entries[execute]["arg-type"], dict(arguments)))
        except (KeyError, TypeError, AttributeError, RecursionError):
            # Facts come from files, too: what cannot be read there vouches for nothing.
            message = "the schema cannot be read where it describes this command"
            return [Problem("command-lacking", execute, message, "make the facts anew")]
        return [Problem("argument-lacking", execute + below, message) for below, message in found]

    def _check(self, type_name: str, value: object) -> _Found:
        entry = self.entries.get(type_name, {})
        meta = entry.get("meta-type")
        if meta == "object":
            return self._check_object(entry, value)
        if meta == "array":
            return self._check_array(entry, value)
        if meta == "enum":
            return _check_enum(entry, value)
        if meta == "alternate":
            return self._check_alternate(entry, value)
        if meta == "builtin":
            return _check_builtin(entry, value)
        return [("", f"the schema does not say what type {type_name!r} is")]

    def _check_object(self, entry: Entry, value: object) -> _Found:
        if not isinstance(value, Mapping):
            yield "", "an object is wanted here"
            return
        members = self._members_of(entry, value)
        for name, inner in value.items():
            if name not in members.types:
                yield f".{name}", "this QEMU has no such member"
                continue
            for below, message in self._check(members.types[name], inner):
                yield f".{name}{below}", message
        for name in members.required:
            if name not in value:
                yield f".{name}", "this member is missing"

    def _members_of(self, entry: Entry, value: Mapping[str, object]) -> _Members:
        """The members of an object, with those of its variant; worked out once for each variant."""
        case = value.get(entry["tag"]) if "tag" in entry else None
        key = (entry["name"], case if isinstance(case, str) else None)
        found = self._members.get(key)
        if found is None:
            members = [*entry["members"], *self._variant_members(entry, case)]
            found = self._members[key] = _Members(
                {member["name"]: member["type"] for member in members},
                tuple(member["name"] for member in members if "default" not in member),
            )
        return found

    def _variant_members(self, entry: Entry, case: object) -> Iterable[Entry]:
        for variant in entry.get("variants", ()):
            if variant["case"] == case:
                members: Iterable[Entry] = self.entries.get(variant["type"], {}).get("members", ())
                return members
        return ()

    def _check_array(self, entry: Entry, value: object) -> _Found:
        if not isinstance(value, list | tuple):
            yield "", "an array is wanted here"
            return
        element_type = entry["element-type"]
        for number, item in enumerate(value):
            for below, message in self._check(element_type, item):
                yield f"[{number}]{below}", message

    def _check_alternate(self, entry: Entry, value: object) -> _Found:
        if any(not list(self._check(member["type"], value)) for member in entry["members"]):
            return ()
        return [("", f"this QEMU does not take {value!r} here")]


def _check_enum(entry: Entry, value: object) -> _Found:
    values = entry.get("values") or [member["name"] for member in entry["members"]]
    return () if value in values else [("", f"this QEMU does not know the value {value!r}")]


def _check_builtin(entry: Entry, value: object) -> _Found:
    json_type = entry.get("json-type", "value")
    if json_type == "value":
        return ()
    right = isinstance(value, _JSON_TYPES[json_type])
    if isinstance(value, bool):
        right = json_type == "boolean"
    return () if right else [("", f"{json_type} is wanted here")]
