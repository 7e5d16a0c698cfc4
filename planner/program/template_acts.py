"""What is done to make a template and to start a clone, as a list of acts that can be judged.

An act is one thing that is done and seen to be done: a QEMU started with these words, a command whose
outcome was waited for, a file synced.  Who makes templates and who judges them
(`planner.verify.template`, `planner.explore.template`) share this vocabulary and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from attrs import field, frozen

__all__ = [
    "Act",
    "ActKind",
    "MadeFrom",
    "MemoryFile",
    "MemoryObject",
    "checked",
    "ended",
    "memories_of",
    "named",
    "recorded",
    "sent",
    "started",
    "synced",
]

_MEMORY = "memory-backend-"


class ActKind(StrEnum):
    """What is done."""

    START = "start"
    SEND = "send"
    END = "end"
    SYNC = "sync"
    NAME = "name"
    RECORD = "record"
    CHECK = "check"


@frozen
class Act:
    """One thing that is done.

    Attributes:
        kind: What.
        words: START: QEMU's command line.
        execute: SEND: the command.
        arguments: SEND: its arguments.
        file: SYNC, NAME, CHECK: the file.
        to: NAME: what the file is called from now on.
        files: RECORD: what the manifest names from now on.
    """

    kind: ActKind
    words: tuple[str, ...] = ()
    execute: str = ""
    arguments: Mapping[str, object] = field(factory=dict, hash=False)
    file: str = ""
    to: str = ""
    files: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For a reader: what and with which file or command."""
        of = self.execute or self.file or " ".join(self.files)
        return f"{self.kind} {of}{f' as {self.to}' if self.to else ''}".strip()


def started(*words: str) -> Act:
    """A QEMU is started."""
    return Act(ActKind.START, words=words)


def sent(execute: str, arguments: Mapping[str, object] | None = None) -> Act:
    """A command is sent to it, and its outcome seen."""
    return Act(ActKind.SEND, execute=execute, arguments=arguments or {})


def ended() -> Act:
    """Its process is gone."""
    return Act(ActKind.END)


def synced(file: str) -> Act:
    """What a file holds lasts from now on, also over a power cut."""
    return Act(ActKind.SYNC, file=file)


def named(file: str, to: str) -> Act:
    """A file gets the name under which it is used."""
    return Act(ActKind.NAME, file=file, to=to)


def recorded(*files: str) -> Act:
    """The manifest names these files."""
    return Act(ActKind.RECORD, files=files)


def checked(file: str) -> Act:
    """A file is found to be what was recorded of it."""
    return Act(ActKind.CHECK, file=file)


@frozen
class MemoryFile:
    """A block of a machine's memory, and the file that holds it.

    Attributes:
        id: The memory object's id.
        size_bytes: Its size.
        file: The file.
    """

    id: str
    size_bytes: int
    file: str


@frozen
class MadeFrom:
    """What a template is made of.

    Attributes:
        memory: The guest's memory, a file a memory object.
        state: The file of the devices' state.
    """

    memory: tuple[MemoryFile, ...]
    state: str

    @property
    def files(self) -> tuple[str, ...]:
        """All of them."""
        return (*(each.file for each in self.memory), self.state)


@frozen
class MemoryObject:
    """A memory object of a command line.

    Attributes:
        kind: `memory-backend-file` or another.
        id: Its id.
        size_bytes: Its size; 0: none is given, or it cannot be read.
        file: Its file; empty: none.
        share: Whether what is written goes to the file (QEMU's default: no).
        read_only: Whether the file is opened to be read only.
        rom: Whether the guest cannot write it; by itself what `read_only` is.
        discard_data: Whether the file is emptied at the end.
    """

    kind: str
    id: str
    size_bytes: int
    file: str
    share: bool
    read_only: bool
    rom: bool
    discard_data: bool


def memories_of(words: Sequence[str]) -> tuple[MemoryObject, ...]:
    """The memory objects of a command line, in its order; none: QEMU makes the memory itself."""
    found = (values_of(value, "qom-type") for value in _after("-object", words))
    return tuple(
        _memory(values) for values in found if str(values.get("qom-type")).startswith(_MEMORY)
    )


def _after(option: str, words: Sequence[str]) -> Iterator[str]:
    for at, word in enumerate(words[:-1]):
        if word in (option, f"-{option}"):
            yield words[at + 1]


def values_of(text: str, first: str = "type") -> dict[str, object]:
    """What an option of QEMU's says, by key: `NAME,key=value,…` or JSON."""
    if text.startswith("{"):
        try:
            read = json.loads(text)
        except ValueError:
            return {}
        return read if isinstance(read, dict) else {}
    values: dict[str, object] = {}
    for at, part in enumerate(text.replace(",,", "\0").split(",")):
        key, equals, value = part.replace("\0", ",").partition("=")
        if at == 0 and not equals:
            key, value = first, key
        values[key] = value if equals or at == 0 else "on"
    return values


def _memory(values: Mapping[str, object]) -> MemoryObject:
    read_only = _on(values, "readonly")
    return MemoryObject(
        str(values.get("qom-type", "")),
        str(values.get("id", "")),
        _bytes(values.get("size", 0)),
        str(values.get("mem-path", "")),
        _on(values, "share"),
        read_only,
        _on(values, "rom") if values.get("rom") not in (None, "auto") else read_only,
        _on(values, "discard-data"),
    )


def _on(values: Mapping[str, object], key: str) -> bool:
    return values.get(key) in (True, "on", "yes", "true", "y")


_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def _bytes(value: object) -> int:
    # QEMU: a plain number is of bytes in an object; units are powers of 1024
    text = str(value).upper().removesuffix("B")
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "")
    return int(number) << _UNITS.get(unit, 0) if number.isdigit() else 0
