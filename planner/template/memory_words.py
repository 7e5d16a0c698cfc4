"""QEMU's command line with its memory in files: the user's words, and a memory object for each file.

QEMU maps memory from a file where a `memory-backend-file` object says so, and the stream of the devices'
state knows each block of memory by that object's id.  So an object that the line has is replaced by one
of the same id and size; a line that has none gets one by the id that the machine type uses (what
`query-machines` calls ``default-ram-id``).  What the user said of the old object's pages (where they
come from, whether they are made beforehand) goes: the file is what they are now.

A template's file must never be written to again, and mapped privately it still can be: QEMU gives memory
that the guest gave back (virtio-balloon, virtio-mem) to the host by punching holes into the file.  So a
clone opens it read-only (``readonly=on,rom=off``), which QEMU can since 8.2.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from planner.model.facts import QemuVersion
from planner.parts.template import TemplateMemory

__all__ = ["MEMORY_BACKEND_FILE", "maps_read_only", "memory_objects", "memory_sizes", "with_memory"]

MEMORY_BACKEND_FILE = "memory-backend-file"
_BACKEND = "memory-backend-"
_GOES = frozenset(
    {
        *("qom-type", "id", "size", "mem-path", "share", "offset", "pmem", "discard-data"),
        *("prealloc", "prealloc-threads", "prealloc-context", "reserve"),
        *("hugetlb", "hugetlbsize", "seal", "readonly", "rom"),
    }
)
"""What is said of an object and is no longer so when it is a file of a template."""
_ID_KEPT = "x-use-canonical-path-for-ramblock-id"
"""Off, the stream calls the memory by the id alone; machine types of before 4.1 have it on."""
_PRIVATE_READ_ONLY_SINCE = (8, 2)

_SIZE = re.compile(r"([0-9]+)([BKMGTbkmgt]?)")

_Said = Mapping[str, object]


def maps_read_only(qemu: QemuVersion) -> bool:
    """Whether this QEMU can map a file that it may not write to as memory that the guest writes to."""
    return (qemu.major, qemu.minor) >= _PRIVATE_READ_ONLY_SINCE


def memory_objects(words: Sequence[str]) -> dict[str, str]:
    """The memory objects that a command line makes: id and type; those of a configuration file not."""
    found = {}
    for option, value in _options(words):
        said = _object(value) if option == "object" else {}
        kind = str(said.get("qom-type", ""))
        if kind.startswith(_BACKEND):
            found[str(said.get("id", ""))] = kind
    return found


def memory_sizes(words: Sequence[str]) -> dict[str, int]:
    """How large the memory objects of a command line are, in bytes; 0: that is not understood."""
    return {
        str(said.get("id", "")): _bytes(said.get("size"))
        for option, value in _options(words)
        if option == "object"
        for said in [_object(value)]
        if str(said.get("qom-type", "")).startswith(_BACKEND)
    }


def with_memory(
    words: Sequence[str], memory: Sequence[TemplateMemory], *, share: bool, read_only: bool = False
) -> tuple[str, ...]:
    """The words with each memory object in its file.

    Args:
        words: Program and arguments.
        memory: The objects.  At most one may be unknown to the line: it becomes the machine's memory.
        share: Whether what the guest writes goes to the file: only while a template is made.
        read_only: Whether the file is opened read-only (`maps_read_only`); with ``share=False`` only.
    """
    wanted = {each.id: each for each in memory}
    there = memory_objects(words)

    def placed(value: str) -> str:
        said = _object(value)
        one = wanted.get(str(said.get("id", "")))
        if one is None or not str(said.get("qom-type", "")).startswith(_BACKEND):
            return value
        kept = {key: what for key, what in said.items() if key not in _GOES}
        return _written({**_file(one, share=share, read_only=read_only), **kept}, like=value)

    made = list(_replaced(words, placed))
    for one in memory:
        if one.id not in there:
            said = {**_file(one, share=share, read_only=read_only), _ID_KEPT: False}
            made += ["-object", _written(said, like=""), "-machine", f"memory-backend={one.id}"]
    return tuple(made)


def _bytes(size: object) -> int:
    """A size as QEMU reads it: bytes, or with a letter that says of what."""
    if type(size) is int:
        return size
    found = _SIZE.fullmatch(size) if isinstance(size, str) else None
    return 0 if found is None else int(found[1]) << 10 * "BKMGT".index(found[2].upper() or "B")


def _file(one: TemplateMemory, *, share: bool, read_only: bool) -> dict[str, object]:
    said: dict[str, object] = {
        "qom-type": MEMORY_BACKEND_FILE,
        "id": one.id,
        "size": one.size_bytes,
        "mem-path": one.file,
        "share": share,
    }
    return {**said, "readonly": True, "rom": "off"} if read_only else said


def _replaced(words: Sequence[str], placed: Callable[[str], str]) -> Iterator[str]:
    at = 0
    while at < len(words):
        option = _option(words[at]) if at else ""  # the first word is the program
        if option == "mem-prealloc":
            at += 1
        elif option == "mem-path":
            at += 2
        elif option == "object" and at + 1 < len(words):
            yield from (words[at], placed(words[at + 1]))
            at += 2
        else:
            yield words[at]
            at += 1


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    for word, value in itertools.pairwise(words):
        yield _option(word), value


def _option(word: str) -> str:
    """The name of an option, which may have one dash or two; empty: the word is none."""
    return word[2:] if word.startswith("--") else word[1:] if word.startswith("-") else ""


def _object(value: str) -> _Said:
    if value.startswith("{"):
        try:
            said = json.loads(value)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}
    pairs = (pair.partition("=") for pair in _at_single_commas(value))
    return {
        (key if equals else "qom-type"): (what if equals else key) for key, equals, what in pairs
    }


def _at_single_commas(value: str) -> list[str]:
    """The options of a value; a comma that is doubled belongs to one (QEMU's option parser)."""
    return [each.replace("\0", ",") for each in value.replace(",,", "\0").split(",")]


def _written(said: _Said, like: str) -> str:
    """An object as a word of the command line: JSON where it was JSON."""
    if like.startswith("{"):
        return json.dumps(said)
    words = {True: "on", False: "off"}
    texts = (
        (key, words[what] if isinstance(what, bool) else str(what)) for key, what in said.items()
    )
    kind, *rest = (
        text.replace(",", ",,") if key == "qom-type" else f"{key}={text.replace(',', ',,')}"
        for key, text in texts
    )
    return ",".join((kind, *rest))
