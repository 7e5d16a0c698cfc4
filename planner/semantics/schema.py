"""Checking a command's arguments against `query-qmp-schema`, in QEMU's words.

Theory: QEMU's input visitor walks the declared type, not the input: members in declared order, each
checked in depth before the next, what nobody asked for reported when the object is left.  Walking
the introspected schema in the same order gives the same first error.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

__all__ = ["QmpSchema"]

Entry = Mapping[str, Any]

_EXPECTED = {
    "str": "string",
    "int": "integer",
    "bool": "boolean",
    "number": "number",
    "null": "null",
}
_IS_TYPE: dict[str, Callable[[object], bool]] = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "null": lambda value: value is None,
    "any": lambda _value: True,
}


class QmpSchema:
    """One QEMU's introspected QMP schema.

    Attributes:
        entries: What `query-qmp-schema` returns.
        commands: The command entries by name.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(entries)
        self._by_name = {cast("str", entry["name"]): entry for entry in self.entries}
        self.commands = {
            name: entry for name, entry in self._by_name.items() if entry["meta-type"] == "command"
        }

    def has_command(self, name: str) -> bool:
        """Whether this QEMU has the command."""
        return name in self.commands

    def arguments(self, name: str) -> tuple[Entry, ...]:
        """The arguments of a command; each that may be left out has a `default`."""
        return self._members(cast("str", self.commands[name]["arg-type"]))

    def allows_oob(self, name: str) -> bool:
        """Whether the command may be sent as ``exec-oob``."""
        return bool(self.commands[name].get("allow-oob"))

    def check(self, command: str, arguments: Mapping[str, object]) -> str | None:
        """The first thing that is wrong with a known command's arguments, in QEMU's words."""
        return self._object(cast("str", self.commands[command]["arg-type"]), arguments, "")

    @functools.lru_cache(maxsize=512)  # noqa: B019 - a schema lives as long as the process
    def _members(self, type_name: str) -> tuple[Entry, ...]:
        return tuple(self._by_name[type_name].get("members", ()))

    def _object(self, type_name: str, value: Mapping[str, object], path: str) -> str | None:
        entry = self._by_name[type_name]
        members = self._members(type_name)
        problem = self._each(members, value, path)
        if problem:
            return problem
        known = {member["name"] for member in members}
        variant = self._variant(entry, value)
        while variant:  # a branch may be a union itself: a socket's address is one
            extra = self._members(variant)
            problem = self._each(extra, value, path)
            if problem:
                return problem
            known |= {member["name"] for member in extra}
            variant = self._variant(self._by_name[variant], value)
        for name in value:
            if name not in known:
                return f"Parameter '{_join(path, name)}' is unexpected"
        return None

    def _variant(self, entry: Entry, value: Mapping[str, object]) -> str | None:
        if "tag" not in entry:
            return None
        case = value.get(entry["tag"])
        found = [v["type"] for v in entry["variants"] if v["case"] == case]
        return found[0] if found else None

    def _each(self, members: Iterable[Entry], value: Mapping[str, object], path: str) -> str | None:
        for member in members:
            name = member["name"]
            if name in value:
                problem = self._value(member["type"], value[name], _join(path, name))
            elif "default" in member:
                problem = None
            else:
                problem = f"Parameter '{_join(path, name)}' is missing"
            if problem:
                return problem
        return None

    def _value(self, type_name: str, value: object, path: str) -> str | None:
        entry = self._by_name[type_name]
        return _CHECKS[cast("str", entry["meta-type"])](self, entry, value, path)

    def _check_builtin(self, entry: Entry, value: object, path: str) -> str | None:
        name = entry["name"]
        return None if _IS_TYPE[name](value) else _wrong_type(path, _EXPECTED[name])

    def _check_enum(self, entry: Entry, value: object, path: str) -> str | None:
        if not isinstance(value, str):
            return _wrong_type(path, "string")
        if value in entry["values"]:
            return None
        last = path.rpartition(".")[2]  # QEMU names the member alone here, without its path
        return f"Parameter '{last}' does not accept value '{value}'"

    def _check_array(self, entry: Entry, value: object, path: str) -> str | None:
        if not isinstance(value, list):
            return _wrong_type(path, "array")
        for index, item in enumerate(value):
            problem = self._value(entry["element-type"], item, f"{path}[{index}]")
            if problem:
                return problem
        return None

    def _check_object(self, entry: Entry, value: object, path: str) -> str | None:
        if not isinstance(value, dict):
            return _wrong_type(path, "object")
        return self._object(entry["name"], value, path)

    def _check_alternate(self, entry: Entry, value: object, path: str) -> str | None:
        for member in entry["members"]:
            if self._same_json_type(member["type"], value):
                return self._value(member["type"], value, path)
        return _wrong_type(path, self._alternate_name(entry))

    def _alternate_name(self, entry: Entry) -> str:
        """The alternate's name in QEMU's source, which introspection leaves out."""
        kinds = {self._by_name[member["type"]]["meta-type"] for member in entry["members"]}
        nullable = any(member["type"] == "null" for member in entry["members"])
        name = "BlockdevRef" if "object" in kinds else "Str"
        return f"{name}OrNull" if nullable else name

    def _same_json_type(self, type_name: str, value: object) -> bool:
        entry = self._by_name[type_name]
        meta = entry["meta-type"]
        if meta == "builtin":
            return _IS_TYPE[type_name](value)
        return isinstance(value, {"object": dict, "array": list, "enum": str}[meta])


_CHECKS: dict[str, Callable[[QmpSchema, Entry, object, str], str | None]] = {
    "builtin": QmpSchema._check_builtin,  # noqa: SLF001 - the class's own table
    "enum": QmpSchema._check_enum,  # noqa: SLF001
    "array": QmpSchema._check_array,  # noqa: SLF001
    "object": QmpSchema._check_object,  # noqa: SLF001
    "alternate": QmpSchema._check_alternate,  # noqa: SLF001
}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _wrong_type(path: str, expected: str) -> str:
    return f"Invalid parameter type for '{path}', expected: {expected}"
