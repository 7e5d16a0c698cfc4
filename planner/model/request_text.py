"""A request file (YAML or JSON) into a `Request`, reporting every problem instead of the first.

The reader never stops early: what it cannot read becomes `Unreadable`, so that the compiler can go
on and find what else is wrong; `planner.compile.resolve` refuses any request that has a problem.
The file's shape is also published as `specs/schemas/request.schema.json`; a test holds the two
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

from attrs import field, frozen

from planner.errors import Problem
from planner.model.request import (
    FREEZE_AT_MOST_S,
    STREAM_GIVE_UP_S,
    Capture,
    Exclude,
    ExistingTag,
    External,
    ExternalMachineState,
    FreezeFilesystems,
    Internal,
    InternalMachineState,
    MachineState,
    NoMachineState,
    Others,
    Request,
    RunStateAfter,
    Unreadable,
    Wish,
)
from planner.model.tag import tag_problems
from planner.model.text import Document, read_text

__all__ = [
    "ReadRequest",
    "check_request",
    "read_request",
    "request_from_plain",
    "request_to_plain",
]

_KEYS = (
    *("tag", "machine-state", "disks", "others", "existing-tag", "run-state-after"),
    "freeze-filesystems",
)
_PATH_LIMIT_BYTES = 4095
# Keys of external machine state that are whole numbers, each with the largest that QEMU or sense allows.
_STREAM_LIMITS = (
    ("max-bandwidth", 2**62),
    ("downtime-limit", 2_000_000),
    ("give-up-after", 7 * 24 * 3600),
)
_FREEZE_LIMIT_S = 600
_STREAM_DEFAULTS = {"max-bandwidth": 0, "downtime-limit": 0, "give-up-after": STREAM_GIVE_UP_S}
_STREAM_KEYS = ("external", "capture", "auto-converge", *(key for key, _ in _STREAM_LIMITS))
_Choice = TypeVar("_Choice", bound=StrEnum)


@frozen
class ReadRequest:
    """A request as read, with what is wrong with it.

    Attributes:
        request: Complete where there are no problems; else with `Unreadable` in the gaps.
        problems: Everything that is wrong with the file itself.
    """

    request: Request
    problems: tuple[Problem, ...] = ()


def read_request(text: str, source: str = "request") -> ReadRequest:
    """Read a request file's text.

    Args:
        text: YAML or JSON.
        source: The file's name, for messages.

    Raises:
        BadInput: The text is neither YAML nor JSON.
    """
    return request_from_plain(read_text(text, source))


def request_from_plain(document: Document) -> ReadRequest:
    """Check plain values into a `Request`; see `read_request`."""
    reader = _Reader(document)
    request = reader.request()
    return ReadRequest(request, (*document.problems, *reader.problems))


def check_request(request: Request) -> ReadRequest:
    """Check a request that was made as an object exactly as one from a file is checked."""
    names = [name for name, _ in request.disks]
    twice = sorted({name for name in names if names.count(name) > 1}, key=str)
    problems = tuple(
        Problem("key-twice", f"disks.{name}", "the disk is named twice") for name in twice
    )
    read = request_from_plain(Document(request_to_plain(request)))
    return ReadRequest(read.request, (*problems, *read.problems))


def request_to_plain(request: Request) -> dict[str, object]:
    """Write a request as the plain values of its file, every default spelled out."""
    return {
        "tag": request.tag,
        "machine-state": _machine_state_to_plain(request.machine_state),
        "disks": {name: _wish_to_plain(wish) for name, wish in request.disks},
        "others": str(request.others),
        "existing-tag": str(request.existing_tag),
        "run-state-after": str(request.run_state_after),
        **_freeze_to_plain(request.freeze),
    }


def _freeze_to_plain(freeze: FreezeFilesystems | None) -> dict[str, object]:
    if freeze is None:
        return {}
    return {"freeze-filesystems": {"agent": freeze.agent, "at-most": freeze.at_most_s}}


def _wish_to_plain(wish: Wish) -> object:
    if isinstance(wish, External):
        return {"external": wish.path}
    if isinstance(wish, Internal):
        return "internal"
    return "exclude" if isinstance(wish, Exclude) else _nonsense(wish)


def _nonsense(value: object) -> str:
    """What is no value of a request, so that a reader refuses it; it shows what was meant."""
    return f"a {type(value).__name__}"


def _machine_state_to_plain(state: MachineState) -> object:
    if isinstance(state, InternalMachineState):
        return {"internal": state.disk}
    if isinstance(state, ExternalMachineState):
        return {
            "external": state.path,
            "capture": str(state.capture),
            **{
                key: getattr(state, key.replace("-", "_"))
                for key, _ in _STREAM_LIMITS
                if getattr(state, key.replace("-", "_")) != _STREAM_DEFAULTS[key]
            },
            **({"auto-converge": True} if state.auto_converge else {}),
        }
    return "none" if isinstance(state, NoMachineState) else _nonsense(state)


@frozen
class _Reader:
    document: Document
    problems: list[Problem] = field(factory=list)

    def request(self) -> Request:
        top = self.document.value
        if not isinstance(top, Mapping):
            self._add("request-shape", (), "the request is no mapping of keys to values")
            return Request("", Unreadable(), ())
        for key in top:
            if key not in _KEYS:
                self._unknown_key((key,), _KEYS)
        return Request(
            tag=self._tag(top),
            machine_state=self._machine_state(top),
            disks=self._disks(top),
            others=self._choice(top, "others", Others.REFUSE, Others),
            existing_tag=self._choice(top, "existing-tag", ExistingTag.REFUSE, ExistingTag),
            run_state_after=self._choice(
                top, "run-state-after", RunStateAfter.AS_BEFORE, RunStateAfter
            ),
            freeze=self._freeze(top),
            given=frozenset(key for key in top if key in _KEYS),
        )

    def _tag(self, top: Mapping[str, object]) -> str:
        if "tag" not in top:
            self._add("key-missing", ("tag",), "the request has no tag", "name the snapshot")
            return ""
        value = top["tag"]
        if isinstance(value, bool) or not isinstance(value, str | int):
            self._wrong_type(("tag",), value, "text (quote it)")
            return ""
        if isinstance(value, int):
            self._wrong_type(("tag",), value, "text (quote it)")
            value = str(value)
        self.problems.extend(tag_problems(value))
        return value

    def _machine_state(self, top: Mapping[str, object]) -> MachineState:
        path = ("machine-state",)
        if "machine-state" not in top:
            self._add(
                "key-missing",
                path,
                "the request does not say where the machine state goes",
                "write `none`, or `{internal: DISK}`, or `{external: PATH, capture: stopped}`",
            )
            return Unreadable()
        value = top["machine-state"]
        if value == "none":
            return NoMachineState()
        if not isinstance(value, Mapping):
            self._wrong_type(path, value, "`none`, `{internal: DISK}` or `{external: PATH, …}`")
            return Unreadable()
        if "internal" in value:
            return self._internal_state(value)
        if "external" in value:
            return self._external_state(value)
        self._wrong_type(path, value, "`none`, `{internal: DISK}` or `{external: PATH, …}`")
        return Unreadable()

    def _internal_state(self, value: Mapping[str, object]) -> MachineState:
        self._only(("machine-state",), value, ("internal",))
        disk = self._name(("machine-state", "internal"), value["internal"])
        return Unreadable() if disk is None else InternalMachineState(disk)

    def _external_state(self, value: Mapping[str, object]) -> MachineState:
        self._only(("machine-state",), value, _STREAM_KEYS)
        path = self._path(("machine-state", "external"), value["external"])
        if "capture" not in value:
            self._add(
                "key-missing",
                ("machine-state", "capture"),
                "external machine state does not say how it is captured",
                "write `capture: stopped`, `live` or `background`",
            )
            return Unreadable()
        capture = self._enum(("machine-state", "capture"), value["capture"], Capture)
        limits = {key: self._limit(key, value, most) for key, most in _STREAM_LIMITS}
        converge = self._flag(("machine-state", "auto-converge"), value.get("auto-converge", False))
        if path is None or capture is None or converge is None or None in limits.values():
            return Unreadable()
        return ExternalMachineState(
            path,
            capture,
            max_bandwidth=limits["max-bandwidth"] or 0,
            downtime_limit=limits["downtime-limit"] or 0,
            auto_converge=converge,
            give_up_after=limits["give-up-after"] or STREAM_GIVE_UP_S,
        )

    def _limit(self, key: str, value: Mapping[str, object], most: int) -> int | None:
        if key not in value:
            return _STREAM_DEFAULTS[key]
        found = value[key]
        if type(found) is not int or not 0 < found <= most:
            self._wrong_type(("machine-state", key), found, f"a whole number from 1 to {most}")
            return None
        return found

    def _flag(self, path: tuple[str, ...], value: object) -> bool | None:
        if isinstance(value, bool):
            return value
        self._wrong_type(path, value, "`true` or `false`")
        return None

    def _freeze(self, top: Mapping[str, object]) -> FreezeFilesystems | None:
        key = "freeze-filesystems"
        if key not in top:
            return None
        value = top[key]
        if not isinstance(value, Mapping):
            self._wrong_type((key,), value, "`{agent: SOCKET, at-most: SECONDS}`")
            return FreezeFilesystems("")
        self._only((key,), value, ("agent", "at-most"))
        if "agent" not in value:
            remedy = "write `agent: ` and the path of the agent's socket"
            self._add("key-missing", (key, "agent"), "nothing says where the agent is", remedy)
        agent = self._path((key, "agent"), value["agent"]) if "agent" in value else None
        at_most = value.get("at-most", FREEZE_AT_MOST_S)
        if type(at_most) is not int or not 0 < at_most <= _FREEZE_LIMIT_S:
            expected = f"a whole number from 1 to {_FREEZE_LIMIT_S}"
            self._wrong_type((key, "at-most"), at_most, expected)
            at_most = FREEZE_AT_MOST_S
        return FreezeFilesystems(agent or "", at_most)

    def _disks(self, top: Mapping[str, object]) -> tuple[tuple[str, Wish], ...]:
        if "disks" not in top:
            self._add(
                "key-missing",
                ("disks",),
                "the request names no disks",
                "write `disks: {}` at least",
            )
            return ()
        value = top["disks"]
        if not isinstance(value, Mapping):
            self._wrong_type(("disks",), value, "a mapping of disk names to wishes")
            return ()
        wishes = []
        for name, wish in value.items():
            if self._name(("disks", name), name) is not None:
                wishes.append((name, self._wish(name, wish)))
        return tuple(wishes)

    def _wish(self, name: str, value: object) -> Wish:
        if value == "internal":
            return Internal()
        if value == "exclude":
            return Exclude()
        if isinstance(value, Mapping) and "external" in value:
            self._only(("disks", name), value, ("external",))
            path = self._path(("disks", name, "external"), value["external"])
            return Unreadable() if path is None else External(path)
        self._wrong_type(("disks", name), value, "`internal`, `exclude` or `{external: PATH}`")
        return Unreadable()

    def _name(self, path: tuple[str, ...], value: object) -> str | None:
        return self._text(path, value, "disk-name", lambda text: text.isprintable())

    def _path(self, path: tuple[str, ...], value: object) -> str | None:
        def fits(text: str) -> bool:
            # A path is bytes to the kernel: one that cannot be encoded, or holds NUL, is none.
            try:
                return "\0" not in text and len(text.encode()) <= _PATH_LIMIT_BYTES
            except UnicodeEncodeError:
                return False

        return self._text(path, value, "path", fits)

    def _text(
        self, path: tuple[str, ...], value: object, what: str, fits: Callable[[str], bool]
    ) -> str | None:
        if not isinstance(value, str):
            self._wrong_type(path, value, "text")
            return None
        if not value or not fits(value):
            self._add(f"{what}-malformed", path, f"{value[:80]!r} is no {what.replace('-', ' ')}")
            return None
        return value

    def _choice(
        self, top: Mapping[str, object], key: str, default: _Choice, kind: type[_Choice]
    ) -> _Choice:
        if key not in top:
            return default
        found = self._enum((key,), top[key], kind)
        return default if found is None else found

    def _enum(self, path: tuple[str, ...], value: object, kind: type[_Choice]) -> _Choice | None:
        for member in kind:
            if value == member.value:
                return member
        self._wrong_type(path, value, " or ".join(f"`{member.value}`" for member in kind))
        return None

    def _only(
        self, path: tuple[str, ...], value: Mapping[str, object], allowed: tuple[str, ...]
    ) -> None:
        for key in value:
            if key not in allowed:
                self._unknown_key((*path, key), allowed)

    def _unknown_key(self, path: tuple[str, ...], allowed: tuple[str, ...]) -> None:
        known = ", ".join(allowed)
        self._add("key-unknown", path, "this key is not known here", f"known are: {known}")

    def _wrong_type(self, path: tuple[str, ...], value: object, expected: str) -> None:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        self._add("value-wrong", path, f"{shown} is not {expected}")

    def _add(self, code: str, path: tuple[str, ...], message: str, remedy: str = "") -> None:
        line = self.document.lines.get(path)
        where = f" (line {line})" if line is not None else ""
        self.problems.append(Problem(code, ".".join(path), message + where, remedy))
