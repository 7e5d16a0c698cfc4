"""What an experiment is: the values to be tried, and the cases that they make.

A case is one run under one choice of values, by itself.  Its id follows from everything that decides
what it does, and from nothing else: the values, the round, the design's text, the QEMU's version.  So a
run that was cut short goes on where it stopped, and a result of something else is never taken for it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

from attrs import field, frozen

from planner.compare.repeated import in_rounds

__all__ = [
    "ASKED",
    "AXES",
    "COMMANDS",
    "Case",
    "Dies",
    "Experiment",
    "Kind",
    "Value",
    "axes_of",
    "cases_of",
    "design_key",
    "plain_value",
    "round_words",
    "values_words",
]

Value = str | int | bool
"""One value of what is varied."""


class Kind(StrEnum):
    """What a case does."""

    MEASURE = "measure"
    """Takes one snapshot of a real VM of its own, and measures it."""
    EXPLORE = "explore"
    """Explores every run of a design (`planner.explore`)."""
    LOCKSTEP = "lockstep"
    """Sends the same commands to a real QEMU of its own and to the simulated one, and compares them."""
    CRASH = "crash"
    """Kills the client of a save on a real VM of its own, recovers, and looks what is there."""

    @property
    def runs_qemu(self) -> bool:
        """Whether a case starts a QEMU."""
        return "qemu" in AXES[self]


AXES: Mapping[Kind, tuple[str, ...]] = {
    Kind.MEASURE: ("qemu", "memory-mib", "dirty-mib-per-s", "disks", "design"),
    Kind.EXPLORE: (
        *("faults", "other-clients", "client-death", "pause-at-most", "monitor-answers"),
        *("disks", "design"),
    ),
    Kind.LOCKSTEP: ("commands", "length", "sequence-seed", "qemu"),
    Kind.CRASH: ("qemu", "dies", "disks", "point", "design"),
}
"""What can be varied, in the order in which results are shown; the last is what is compared."""


class Dies(StrEnum):
    """Who is killed in a crash case."""

    CLIENT = "client"
    BOTH = "client-and-qemu"


COMMANDS = ("snapshots", "copies", "images")
"""What the commands of a lockstep can be about: internal snapshots, overlays and commits; copies;
or what makes and resizes images."""

ASKED = ("pause-at-most", "monitor-answers")
"""Axes that an experiment has only where its file names them."""


def axes_of(kind: Kind, named: Iterable[str]) -> tuple[str, ...]:
    """The axes that an experiment has whose file, or whose results, name these."""
    of_file = {*named}
    return tuple(axis for axis in AXES[kind] if axis not in ASKED or axis in of_file)


@frozen
class Experiment:
    """An experiment file that was read.

    Attributes:
        name: What it is called.
        about: What it is to show, in words.
        kind: What each case does.
        vary: The values of each axis of its kind, each once, in the order of the file.
        repeat: How often each case is run.
        seed: What the order of the runs follows from.
        time_limit_s: How long one case may take, in seconds.
        accelerator: QEMU's, where QEMU is run.
        binaries: The program of each name of the axis ``qemu``.
        request: Text of the request that is explored; empty: one is made for the disks.
        facts: Text of the facts that it is explored on; empty: as with the request.
        designs: Text of each design that is a file.
    """

    name: str
    kind: Kind
    vary: Mapping[str, tuple[Value, ...]]
    about: str = ""
    repeat: int = 1
    seed: int = 0
    time_limit_s: int = 300
    accelerator: str = "tcg"
    binaries: Mapping[str, str] = field(factory=dict)
    request: str = ""
    facts: str = ""
    designs: Mapping[str, str] = field(factory=dict)


@frozen
class Case:
    """One run under one choice of values.

    Attributes:
        id: Follows from all that decides what it does.
        kind: What it does.
        settings: A value for each axis.
        round: Which repetition it is, from 1.
        inputs: What else it is given: texts by name.
        time_limit_s: How long it may take, in seconds.
    """

    id: str
    kind: Kind
    settings: Mapping[str, Value]
    round: int
    inputs: Mapping[str, str]
    time_limit_s: int

    @property
    def words(self) -> str:
        """What it is, in a line."""
        return round_words(self.settings, self.round)


def design_key(settings: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    """What is alike in the cases that are compared: every value but the design."""
    return tuple((axis, value) for axis, value in settings.items() if axis != "design")


def cases_of(experiment: Experiment, versions: Mapping[str, str]) -> tuple[Case, ...]:
    """All cases, in the order in which they are run: each once in a round, in an order of chance.

    Args:
        experiment: The experiment.
        versions: What each QEMU says that it is, by its name in the file; empty: nobody asked.
    """
    axes = axes_of(experiment.kind, experiment.vary)
    known: dict[str, tuple[dict[str, Value], dict[str, str]]] = {}
    for chosen in itertools.product(*(experiment.vary[axis] for axis in axes)):
        settings = dict(zip(axes, chosen, strict=True))
        inputs = dict(_inputs(experiment, settings, versions))
        known[_id(experiment.kind, settings, inputs)] = (settings, inputs)
    ordered = in_rounds(list(known), experiment.repeat, experiment.seed)
    return tuple(
        Case(
            id=f"{name}-{number}",
            kind=experiment.kind,
            settings=known[name][0],
            round=number,
            inputs=known[name][1],
            time_limit_s=experiment.time_limit_s,
        )
        for number, name in ordered
    )


def _inputs(
    experiment: Experiment, settings: Mapping[str, Value], versions: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    if experiment.kind.runs_qemu:
        name = str(settings["qemu"])
        yield "binary", experiment.binaries[name]
        yield "version", versions.get(name, "")
        yield "accelerator", experiment.accelerator
        return
    if experiment.request:
        yield "request", experiment.request
        yield "facts", experiment.facts
    design = str(settings["design"])
    if design in experiment.designs:
        yield "design-text", experiment.designs[design]


def _id(kind: Kind, settings: Mapping[str, Value], inputs: Mapping[str, str]) -> str:
    text = json.dumps([kind, settings, inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def values_words(settings: Mapping[str, Value]) -> str:
    """A choice of values, in words."""
    return ", ".join(f"{axis} {plain_value(value)}" for axis, value in settings.items())


def round_words(settings: Mapping[str, Value], number: int) -> str:
    """A round of a choice of values, in words."""
    return f"{values_words(settings)}, round {number}"


def plain_value(value: Value) -> str:
    """A value as the file has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
