"""A design file (YAML) into a `DesignFile`, reporting every problem instead of the first.

    design: naive-transaction
    instructions:
      - name: stop
        does: PauseGuest
      - name: transaction
        does: {any-order: [WriteVmstate, SnapshotDisk, DiscardVmstate]}
        atomic: true
        on-failure: nothing
      - name: cont
        does: ResumeGuest

A piece of `does` is an operation, ``SnapshotDisk(vmstate)`` or ``SnapshotDisk(others)`` where not all
disks are meant, or ``in-order`` or ``any-order`` with a list of pieces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from planner.errors import BadInput, Problem
from planner.explore.design import (
    IN_AN_IMAGE,
    NO_MACHINE_STATE,
    AnyOrder,
    Body,
    DesignFile,
    InOrder,
    Pattern,
    PlannedInstruction,
    Proposer,
)
from planner.explore.instruction import (
    ClientKind,
    CopyOf,
    Finds,
    OnExistingTag,
    OnFailure,
    SideEffect,
    VmstateIn,
    VmstateOf,
)
from planner.model.operations import Kind
from planner.model.request import Capture
from planner.model.text import read_text

__all__ = ["read_design"]

_PIECE = re.compile(r"(?P<kind>[A-Za-z]+)(\((?P<which>vmstate|others|all)\))?")
_KEYS = (
    *("design", "summary", "exists", "proposed-by", "capture", "client"),
    *("instructions", "verdict", "finding"),
)
_VERDICTS = (
    *("none", "one", "two", "one-with-other-clients"),
    *("one-with-client-death", "one-with-client-death-recovered"),
)
_FLAGS = ("each-alone", "needs-machine-state", "atomic", "stops-guest", "waits-for-tracking")
_CHOICES: Mapping[str, type[StrEnum]] = {
    "on-failure": OnFailure,
    "existing-tag": OnExistingTag,
    "vmstate-in": VmstateIn,
    "vmstate-of": VmstateOf,
    "copy-of": CopyOf,
    "finds": Finds,
    "effect": SideEffect,
}
_Choice = TypeVar("_Choice", bound=StrEnum)


def read_design(text: str, source: str = "design") -> DesignFile:
    """Read a design file's text.

    Raises:
        BadInput: It is malformed; each problem names the key.
    """
    document = read_text(text, source)
    reader = _Reader(list(document.problems))
    design = reader.design(document.value)
    if reader.problems or design is None:
        raise BadInput(
            f"design file {source} is malformed",
            problems=tuple(reader.problems),
            code="design-malformed",
        )
    return design


class _Reader:
    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def _wrong(self, key: str, message: str) -> None:
        self.problems.append(Problem("design-malformed", key, message))

    def _mapping(self, value: object, where: str, known: tuple[str, ...]) -> Mapping[str, object]:
        if not isinstance(value, dict):
            self._wrong(where, "must be a mapping")
            return {}
        for key in value:
            if key not in known:
                self._wrong(f"{where}: {key}", f"no such key; known are: {', '.join(known)}")
        return value

    def _words(
        self, top: Mapping[str, object], key: str, where: str, *, needed: bool = False
    ) -> str:
        value = top.get(key, "")
        if isinstance(value, str) and (value or not needed):
            return value.strip()
        self._wrong(f"{where}: {key}", "must be a text")
        return ""

    def design(self, value: object) -> DesignFile | None:
        top = self._mapping(value, "the file", _KEYS)
        if not top:
            return None
        return DesignFile(
            name=self._words(top, "design", "the file", needed=True),
            summary=self._words(top, "summary", "the file"),
            instructions=self._instructions(top.get("instructions")),
            exists=self._words(top, "exists", "the file"),
            proposed_by=self._proposers(top.get("proposed-by", [])),
            verdict=self._verdict(top.get("verdict", {})),
            finding=self._words(top, "finding", "the file"),
            capture=self._capture(top.get("capture", "")),
            client=self._choice(top, "client", ClientKind.CAREFUL, "the file"),
        )

    def _capture(self, value: object) -> str:
        known = [*Capture, IN_AN_IMAGE, NO_MACHINE_STATE]
        if value == "" or value in known:
            return str(value)
        self._wrong("the file: capture", f"must be one of: {', '.join(known)}")
        return ""

    def _list(self, value: object, where: str) -> list[object]:
        if isinstance(value, list):
            return value
        self._wrong(where, "must be a list")
        return []

    def _proposers(self, value: object) -> tuple[Proposer, ...]:
        found = []
        for entry in self._list(value, "proposed-by"):
            top = self._mapping(entry, "proposed-by", ("who", "where", "says"))
            texts = [self._words(top, key, "proposed-by") for key in ("who", "where", "says")]
            found.append(Proposer(*texts))
        return tuple(found)

    def _verdict(self, value: object) -> Mapping[str, tuple[str, ...]]:
        top = self._mapping(value, "verdict", _VERDICTS) if value else {}
        return {
            key: tuple(str(word) for word in self._list(found, f"verdict: {key}"))
            for key, found in top.items()
        }

    def _instructions(self, value: object) -> tuple[PlannedInstruction, ...]:
        entries = self._list(value, "instructions")
        if not entries:
            self._wrong("instructions", "a design has at least one")
        return tuple(self._instruction(entry) for entry in entries)

    def _instruction(self, value: object) -> PlannedInstruction:
        known = ("name", "does", *_FLAGS, *_CHOICES)
        top = self._mapping(value, "instruction", known)
        name = self._words(top, "name", "instruction", needed=True)
        where = f"instruction {name}"
        flags = {key: self._flag(top, key, where) for key in _FLAGS}
        effect = self._choice(top, "effect", SideEffect.NONE, where)
        alone = effect is not SideEffect.NONE
        if alone and "does" in top:
            self._wrong(f"{where}: does", "an instruction has an effect, or does operations")
        return PlannedInstruction(
            name=name,
            does=AnyOrder(()) if alone else self._body(top.get("does"), where),
            effect=effect,
            waits_for_tracking=flags["waits-for-tracking"],
            each_alone=flags["each-alone"],
            needs_machine_state=flags["needs-machine-state"],
            atomic=flags["atomic"],
            stops_guest=flags["stops-guest"],
            on_failure=self._choice(top, "on-failure", OnFailure.WHAT_WAS_DONE, where),
            existing_tag=self._choice(top, "existing-tag", OnExistingTag.REFUSE, where),
            vmstate_in=self._choice(top, "vmstate-in", VmstateIn.ACTIVE_LAYER, where),
            vmstate_of=self._choice(top, "vmstate-of", VmstateOf.WRITE, where),
            copy_of=self._choice(top, "copy-of", CopyOf.BEGIN, where),
            by_tag=self._choice(top, "finds", Finds.ID, where) is Finds.TAG,
        )

    def _flag(self, top: Mapping[str, object], key: str, where: str) -> bool:
        value = top.get(key, False)
        if isinstance(value, bool):
            return value
        self._wrong(f"{where}: {key}", "must be true or false")
        return False

    def _choice(self, top: Mapping[str, object], key: str, default: _Choice, where: str) -> _Choice:
        value = top.get(key, default.value)
        kind = type(default)
        if value in [choice.value for choice in kind]:
            return kind(str(value))
        words = ", ".join(choice.value for choice in kind)
        self._wrong(f"{where}: {key}", f"must be one of: {words}")
        return default

    def _body(self, value: object, where: str) -> Body:
        if isinstance(value, str):
            return self._pattern(value, where)
        if isinstance(value, dict) and len(value) == 1:
            ((key, parts),) = value.items()
            if key in ("in-order", "any-order"):
                pieces = tuple(self._body(part, where) for part in self._list(parts, where))
                return InOrder(pieces) if key == "in-order" else AnyOrder(pieces)
        self._wrong(
            f"{where}: does", "a piece is an operation, `in-order: […]` or `any-order: […]`"
        )
        return AnyOrder(())

    def _pattern(self, text: str, where: str) -> Body:
        match = _PIECE.fullmatch(text.strip())
        kinds = {kind.value: kind for kind in Kind}
        if match is None or match["kind"] not in kinds:
            self._wrong(f"{where}: does", f"{text!r} is no operation; known: {', '.join(kinds)}")
            return AnyOrder(())
        return Pattern(kinds[match["kind"]], match["which"] or "all")
