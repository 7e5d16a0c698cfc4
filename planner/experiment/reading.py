"""An experiment file (YAML or JSON) into an `Experiment`, reporting every problem instead of the first.

    experiment: transactional-or-monolithic
    kind: measure
    repeat: 7
    seed: 1
    vary:
      qemu: {"7.2": /usr/bin/qemu-system-x86_64}
      disks: [1, 8, 64]
      design: [monolithic, transactional]

Nothing is run and no QEMU is asked here.  Paths in the file are relative to its folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import PurePosixPath

from attrs import define, field

from planner.compile.designs import DESIGNS
from planner.errors import BadInput, Problem
from planner.experiment.experiment import (
    AXES,
    COMMANDS,
    Dies,
    Experiment,
    Kind,
    Value,
    axes_of,
)
from planner.explore.design_text import read_design
from planner.explore.limits import InPause
from planner.explore.state import ClientDeath
from planner.model.facts_text import read_facts
from planner.model.request_text import read_request
from planner.model.text import Document, read_text
from planner.verbs.design_files import is_path

__all__ = ["FAULTS", "Texts", "read_experiment"]

FAULTS = {"none": 0, "one": 1, "two": 2}
"""How many faults may strike, by the words of the file."""

Texts = Callable[[str], str]
"""Reads a file that the experiment names, by its path; raises `BadInput`."""

_CODE = "experiment-malformed"
_COMMON = ("experiment", "about", "kind", "repeat", "seed", "time-limit-s", "vary")
_KEYS = {
    Kind.MEASURE: (*_COMMON, "accelerator"),
    Kind.EXPLORE: (*_COMMON, "request", "facts"),
    Kind.LOCKSTEP: (*_COMMON, "accelerator"),
    Kind.CRASH: (*_COMMON, "accelerator"),
}
_REPEATS, _MOST_CASES, _LONGEST_S = 100, 20_000, 24 * 3600
_SEEDS = (0, 2**32 - 1)
_NUMBERS = {
    "disks": (1, 250),
    "memory-mib": (128, 4096),
    "dirty-mib-per-s": (0, 4096),
    "length": (1, 1000),
    "sequence-seed": _SEEDS,
    "point": (1, 1000),
}
_RANGES = ("sequence-seed", "point")
_DISKS_EXPLORED = 12
_WORDS: Mapping[str, tuple[str, ...]] = {
    "faults": tuple(FAULTS),
    "client-death": tuple(death.value for death in ClientDeath),
    "commands": COMMANDS,
    "pause-at-most": tuple(each.value for each in InPause),
    "dies": tuple(Dies),
}
_DEFAULTS: Mapping[str, tuple[Value, ...]] = {
    "disks": (2,),
    "memory-mib": (128,),
    "dirty-mib-per-s": (0,),
    "faults": ("one",),
    "client-death": (ClientDeath.NEVER.value,),
    "other-clients": (False,),
    "commands": (COMMANDS[0],),
    "length": (25,),
    "sequence-seed": (0,),
    "dies": (Dies.CLIENT.value,),
}
_FLAGS = ("other-clients", "monitor-answers")
_PAGE_MIB = 16
_NAME_CHARACTERS = 60


def read_experiment(
    text: str, source: str, built_in: tuple[str, ...], texts: Texts, built_in_text: Texts
) -> Experiment:
    """Read an experiment.

    Args:
        text: The file's contents.
        source: Its path, for messages, and for what it names.
        built_in: Names of design files that snapplan has.
        texts: Reads a file that it names.
        built_in_text: Reads a design file of snapplan's by its name.

    Raises:
        BadInput: It is no YAML, or no experiment (``experiment-malformed``): each problem has its key.
    """
    document = read_text(text, source)
    reader = _Reader(document, PurePosixPath(source).parent, built_in, texts, built_in_text)
    found = reader.experiment()
    if reader.problems or found is None:
        raise BadInput(
            f"{source} is no experiment",
            problems=tuple(reader.problems),
            code="experiment-malformed",
        )
    return found


@define
class _Reader:
    document: Document
    folder: PurePosixPath
    built_in: tuple[str, ...]
    texts: Texts
    built_in_text: Texts
    problems: list[Problem] = field(init=False, factory=list)
    kind: Kind = field(init=False, default=Kind.MEASURE)

    def _wrong(self, key: str, message: str, remedy: str = "") -> None:
        line = self.document.lines.get(tuple(key.split(": ")))
        where = f" (line {line})" if line else ""
        self.problems.append(Problem(_CODE, key, f"{message}{where}", remedy))

    def experiment(self) -> Experiment | None:
        self.problems += self.document.problems
        top = self.document.value
        if not isinstance(top, dict):
            self._wrong("the file", "must be a mapping")
            return None
        if not self._known_kind(top):
            return None
        self._check_keys("", top, _KEYS[self.kind])
        vary = top.get("vary")
        if not isinstance(vary, dict):
            self._wrong("vary", "must be a mapping of what is varied")
            return None
        self._check_keys("vary: ", vary, AXES[self.kind])
        binaries = self._binaries(vary.get("qemu")) if self.kind.runs_qemu else {}
        axes = {axis: self._axis(axis, vary, binaries) for axis in axes_of(self.kind, vary)}
        request, facts = self._given(top, vary)
        if facts:
            axes["disks"] = (len(read_facts(facts, str(top["facts"])).disks),)
        experiment = Experiment(
            name=self._name(top),
            about=self._text(top, "about"),
            kind=self.kind,
            vary=axes,
            repeat=self._number(top, "repeat", 1, 1, _REPEATS),
            seed=self._number(top, "seed", 0, *_SEEDS),
            time_limit_s=self._number(top, "time-limit-s", 300, 1, _LONGEST_S),
            accelerator=self._word(top, "accelerator", ("tcg", "kvm")),
            binaries=binaries,
            request=request,
            facts=facts,
            designs=self._design_texts(axes.get("design", ())),
        )
        self._check_size(experiment)
        return experiment

    def _known_kind(self, top: Mapping[str, object]) -> bool:
        kinds = [kind.value for kind in Kind]
        if top.get("kind") in kinds:
            self.kind = Kind(str(top["kind"]))
            return True
        if "kind" in top:
            self._wrong("kind", f"must be one of: {', '.join(kinds)}")
            return False
        known = tuple(dict.fromkeys(key for keys in _KEYS.values() for key in keys))
        self._check_keys("", top, known)
        self._wrong("kind", "is missing", f"give one of: {', '.join(kinds)}")
        return False

    def _check_keys(self, path: str, found: Mapping[str, object], known: tuple[str, ...]) -> None:
        for key in found:
            if key in known:
                continue
            other = next((kind for kind in Kind if key in (*AXES[kind], *_KEYS[kind])), None)
            near = get_close_matches(key, known, n=1)
            remedy = f"known are: {', '.join(known)}"
            if other is not None and other is not self.kind and key not in _COMMON:
                remedy = f"it is for `kind: {other}`"
            elif key in AXES[self.kind]:
                remedy = "it stands under `vary`"
            elif near:
                remedy = f"did you mean {near[0]}?"
            self._wrong(f"{path}{key}", "no such key", remedy)

    def _name(self, top: Mapping[str, object]) -> str:
        name = self._text(top, "experiment")
        if not name or len(name) > _NAME_CHARACTERS or not name.isprintable():
            self._wrong("experiment", f"must be a name of 1 to {_NAME_CHARACTERS} characters")
        return name

    def _text(self, top: Mapping[str, object], key: str) -> str:
        value = top.get(key, "")
        if isinstance(value, str):
            return value.strip()
        self._wrong(key, "must be a text")
        return ""

    def _word(self, top: Mapping[str, object], key: str, known: tuple[str, ...]) -> str:
        value = top.get(key, known[0])
        if value in known:
            return str(value)
        self._wrong(key, f"must be one of: {', '.join(known)}")
        return known[0]

    def _number(self, top: Mapping[str, object], key: str, default: int, *within: int) -> int:
        value = top.get(key, default)
        least, most = within
        if type(value) is int and least <= value <= most:
            return value
        self._wrong(key, f"must be a whole number from {least} to {most}")
        return default

    def _binaries(self, value: object) -> dict[str, str]:
        key = "vary: qemu"
        if value is None:
            return {"qemu-system-x86_64": "qemu-system-x86_64"}
        if not isinstance(value, dict) or not value:
            self._wrong(key, "must be a mapping: a name for each QEMU, and its program")
            return {}
        for name, binary in value.items():
            if not isinstance(binary, str) or not binary or "\0" in binary:
                self._wrong(f"{key}: {name}", "must be a program: a path, or a name on PATH")
        return {str(name): self._path(str(binary)) for name, binary in value.items()}

    def _path(self, path: str) -> str:
        """A path as it is from here; a name without a slash is looked up on PATH."""
        return str(self.folder / path) if "/" in path else path

    def _axis(
        self, axis: str, vary: Mapping[str, object], binaries: Mapping[str, str]
    ) -> tuple[Value, ...]:
        key = f"vary: {axis}"
        if axis == "qemu":
            return tuple(binaries)
        if axis not in vary and axis in _DEFAULTS:
            return _DEFAULTS[axis]
        values = vary.get(axis)
        if axis in _RANGES and isinstance(values, dict):
            values = self._range(key, values)
        if not isinstance(values, list) or not values:
            ranged = ", or a range such as {from: 1, to: 20}" if axis in _RANGES else ""
            self._wrong(key, f"must be a list of at least one value{ranged}")
            return ()
        checked = [value for value in values if self._check_value(axis, key, value)]
        twice = [value for value, count in Counter(checked).items() if count > 1]
        if twice:
            self._wrong(key, f"{twice[0]} stands twice")
        return tuple(checked)

    def _range(self, key: str, found: Mapping[str, object]) -> list[int]:
        """The numbers of a range; none: it is told what is wrong."""
        self._check_keys(f"{key}: ", found, ("from", "to"))
        first, last = found.get("from"), found.get("to")
        if type(first) is int and type(last) is int and first <= last < first + _MOST_CASES:
            return list(range(first, last + 1))
        return []

    def _check_value(self, axis: str, key: str, value: object) -> bool:
        before = len(self.problems)
        if axis == "design":
            self._check_design(key, value)
        elif axis in _NUMBERS:
            least, most = _NUMBERS[axis]
            if axis == "disks" and self.kind is Kind.EXPLORE:
                most = _DISKS_EXPLORED
            if type(value) is not int or not least <= value <= most:
                self._wrong(key, f"{value!r} is no whole number from {least} to {most}")
            elif axis == "memory-mib" and value % _PAGE_MIB:
                self._wrong(key, f"{value} is no multiple of {_PAGE_MIB}")
        elif axis in _WORDS and value not in _WORDS[axis]:
            self._wrong(key, f"{value!r} is none of: {', '.join(_WORDS[axis])}")
        elif axis in _FLAGS and not isinstance(value, bool):
            self._wrong(key, f"{value!r} is neither true nor false")
        return len(self.problems) == before

    def _check_design(self, key: str, value: object) -> None:
        compiled = [design.name for design in DESIGNS]
        if value in compiled:
            return
        if not isinstance(value, str):
            self._wrong(key, f"{value!r} is no name of a design")
            return
        if self.kind.runs_qemu:
            is_file = is_path(value) or value in self.built_in
            why = "is a design file, and no QEMU can run one" if is_file else "is no design"
            self._wrong(key, f"{value} {why}", f"known are: {', '.join(compiled)}")
        elif not is_path(value) and value not in self.built_in:
            near = get_close_matches(value, (*compiled, *self.built_in), n=1)
            known = f"known are: {', '.join((*compiled, *self.built_in))}, or a file's path"
            self._wrong(key, f"{value} is no design", f"did you mean {near[0]}?" if near else known)

    def _design_texts(self, designs: tuple[Value, ...]) -> dict[str, str]:
        """The texts of the designs that are files; each is read once, so that all cases get the same."""
        found: dict[str, str] = {}
        compiled = [design.name for design in DESIGNS]
        for name in (str(each) for each in designs if each not in compiled):
            try:
                text = (
                    self.texts(self._of_folder(name)) if is_path(name) else self.built_in_text(name)
                )
                read_design(text, name)
            except BadInput as error:
                self.problems += error.problems
                continue
            found[name] = text
        return found

    def _of_folder(self, path: str) -> str:
        return str(self.folder / path)

    def _given(self, top: Mapping[str, object], vary: Mapping[str, object]) -> tuple[str, str]:
        """The texts of a request and of facts that are explored in place of made ones."""
        keys = [key for key in ("request", "facts") if key in top]
        if not keys or self.kind is not Kind.EXPLORE:
            return "", ""
        if len(keys) == 1:
            other = "facts" if keys == ["request"] else "request"
            self._wrong(other, f"is missing: `{keys[0]}` is of no use without it")
        if "disks" in vary:
            self._wrong("vary: disks", "the facts say which disks there are", "leave it out")
        paths = [self._text(top, key) for key in keys]
        try:
            texts = [self.texts(self._of_folder(path)) for path in paths]
            if len(texts) == 2:
                problems = read_request(texts[0], paths[0]).problems
                self.problems += problems
                read_facts(texts[1], paths[1])
                return ("", "") if problems else (texts[0], texts[1])
        except BadInput as error:
            self.problems += error.problems
        return "", ""

    def _check_size(self, experiment: Experiment) -> None:
        count = experiment.repeat
        for values in experiment.vary.values():
            count *= len(values)
        if count > _MOST_CASES:
            self._wrong("vary", f"{count} cases are more than {_MOST_CASES}")
        if experiment.kind is Kind.EXPLORE and experiment.repeat > 1:
            self._wrong("repeat", "an exploration comes to the same each time", "leave it out")
