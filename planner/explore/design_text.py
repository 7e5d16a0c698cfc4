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
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
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
    Completion,
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

__all__ = ["CHOICES", "FLAGS", "KEYS", "VERDICTS", "read_design"]

_PIECE = re.compile(r"(?P<kind>[A-Za-z]+)(\((?P<which>vmstate|others|all)\))?")
KEYS = (
    *("design", "summary", "exists", "proposed-by", "capture", "client"),
    *("instructions", "verdict", "finding"),
)
VERDICTS = (
    *("none", "one", "two", "one-with-other-clients"),
    *("one-with-client-death", "one-with-client-death-recovered"),
)
FLAGS = (
    *("each-alone", "needs-machine-state", "atomic", "stops-guest", "waits-for-tracking"),
    *("monitor-answers", "leaves-nodes-active"),
)
CHOICES: Mapping[str, type[StrEnum]] = {
    "on-failure": OnFailure,
    "existing-tag": OnExistingTag,
    "vmstate-in": VmstateIn,
    "vmstate-of": VmstateOf,
    "copy-of": CopyOf,
    "completion-mode": Completion,
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

    def _wrong(self, key: str, message: str, remedy: str = "") -> None:
        self.problems.append(Problem("design-malformed", key, message, remedy))

    def _mapping(self, value: object, where: str, known: tuple[str, ...]) -> Mapping[str, object]:
        if not isinstance(value, dict):
            self._wrong(where, "must be a mapping")
            return {}
        for key in value:
            if key not in known:
                message, remedy = _unknown(str(key), known)
                self._wrong(f"{where}: {key}", message, remedy)
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
        top = self._mapping(value, "the file", KEYS)
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
        top = self._mapping(value, "verdict", VERDICTS) if value else {}
        return {
            key: tuple(str(word) for word in self._list(found, f"verdict: {key}"))
            for key, found in top.items()
        }

    def _instructions(self, value: object) -> tuple[PlannedInstruction, ...]:
        entries = self._list(value, "instructions")
        if not entries:
            self._wrong("instructions", "a design has at least one")
        return tuple(self._instruction(entry, n) for n, entry in enumerate(entries, start=1))

    def _instruction(self, value: object, number: int) -> PlannedInstruction:
        named = value.get("name") if isinstance(value, dict) else None
        where = f"instruction {named if named and isinstance(named, str) else number}"
        top = self._mapping(value, where, ("name", "does", *FLAGS, *CHOICES))
        name = self._words(top, "name", where, needed=bool(top)) if top else ""
        flags = {key: self._flag(top, key, where) for key in FLAGS}
        effect = self._choice(top, "effect", SideEffect.NONE, where)
        alone = top.get("effect", SideEffect.NONE.value) != SideEffect.NONE.value
        whole = isinstance(value, dict) and not alone
        body = self._body(top.get("does"), where) if whole else AnyOrder(())
        completion = self._choice(top, "completion-mode", Completion.INDIVIDUAL, where)
        if completion is Completion.GROUPED and not _only_copies(body):
            message = "QEMU takes grouped with backups only (facts 27 and 155)"
            remedy = "give BeginCopy an instruction of its own, or say on-failure: nothing"
            self._wrong(f"{where}: completion-mode", message, remedy)
        if alone and "does" in top:
            self._wrong(f"{where}: does", "an instruction has an effect, or does operations")
        return PlannedInstruction(
            name=name,
            does=body,
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
            completion=completion,
            monitor_answers=flags["monitor-answers"],
            leaves_active=flags["leaves-nodes-active"],
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
        words = [choice.value for choice in kind]
        self._wrong(
            f"{where}: {key}", f"must be one of: {', '.join(words)}", _near(str(value), words)
        )
        return default

    def _body(self, value: object, where: str) -> Body:
        if isinstance(value, str):
            return self._pattern(value, where)
        if isinstance(value, dict) and len(value) == 1:
            ((key, parts),) = value.items()
            if key in _ORDERS:
                pieces = tuple(self._body(part, where) for part in self._list(parts, where))
                return InOrder(pieces) if key == "in-order" else AnyOrder(pieces)
        self._wrong(f"{where}: does", _A_PIECE, _meant(value))
        return AnyOrder(())

    def _pattern(self, text: str, where: str) -> Body:
        match = _PIECE.fullmatch(text.strip())
        kinds = {kind.value: kind for kind in Kind}
        if match is not None and match["kind"] in kinds:
            return Pattern(kinds[match["kind"]], match["which"] or "all")
        word, bracket, _ = text.strip().partition("(")
        if bracket and word in kinds:
            message = f"{text!r}: a design has no names of disks, since it is for any request"
            remedy = f"say {word}(vmstate), {word}(others), or {word} for all"
        else:
            message = f"{text!r} is no operation"
            remedy = _near(word, kinds) or f"known are: {', '.join(kinds)}"
        self._wrong(f"{where}: does", message, remedy)
        return AnyOrder(())


def _only_copies(body: Body) -> bool:
    """Whether an instruction begins copies, and does nothing else."""
    if isinstance(body, Pattern):
        return body.kind is Kind.BEGIN_COPY
    return bool(body.parts) and all(map(_only_copies, body.parts))


_ORDERS = ("in-order", "any-order")
_A_PIECE = "a piece is an operation, `in-order: […]` or `any-order: […]`"
_ELSEWHERE: Mapping[str, str] = {
    "vm": "several VMs are a group: `snapplan group explore` has them",
    "BackupDisk": "the copy of a disk is AddTarget, BeginCopy and EndCopy",
    "EndBackup": "the copy of a disk is AddTarget, BeginCopy and EndCopy",
}
"""What people write for something that has another name here."""


def _near(word: str, known: Iterable[str]) -> str:
    """What somebody may have meant; empty where nobody can tell."""
    if word in _ELSEWHERE:
        return _ELSEWHERE[word]
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else ""


def _unknown(key: str, known: Sequence[str]) -> tuple[str, str]:
    near = _near(key, known)
    return "no such key", near or f"known are: {', '.join(known)}"


def _meant(value: object) -> str:
    if isinstance(value, dict) and len(value) == 1:
        return _near(str(next(iter(value))), _ORDERS)
    return ""
