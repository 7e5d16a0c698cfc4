"""Experiments: what one is, its cases, and what it is given.

An experiment is a function whose parameters say what it needs:

- `target`: starts VMs, on a real QEMU or on the simulator; it is about QMP alone.
- `qemu`: starts real QEMUs: their images, their process, their guest.
- `tmp_path`: a folder of its own.
- a name that its module has as a `resource`: made before it, taken away after it.
- anything else: given by its cases.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from backends.qemu_facts.lab.qemu import QemuTarget

__all__ = [
    "Bench",
    "Case",
    "Experiment",
    "case",
    "cases",
    "experiment",
    "close_kept",
    "experiments_of",
    "new_folder",
    "resource",
]

_MADE, _CASES = "__experiment__", "__cases__"
_FIRST, _LAST = (0, 0), (999, 0)
_Version = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """One set of values for an experiment; the versions [since, before) that it concerns."""

    values: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    since: _Version = _FIRST
    before: _Version = _LAST
    slow: bool = False

    def concerns(self, version: _Version) -> bool:
        """Whether it says anything of a QEMU of this version."""
        return self.since <= version < self.before


@dataclass(frozen=True)
class Experiment:
    """One function that shows a fact, or a part of it."""

    name: str
    claim: str
    function: Callable[..., None]
    cases: tuple[Case, ...]

    @property
    def on_any_vm(self) -> bool:
        """Whether it is about QMP alone: the simulator can be asked, too."""
        return "target" in _needs(self.function)


def _needs(function: Callable[..., Any]) -> set[str]:
    """The names that a function is given, and those of the resources behind them."""
    names = set(inspect.signature(function).parameters)
    for name in tuple(names):
        made = function.__globals__.get(name)
        if isinstance(made, _Resource):
            names |= _needs(made.function)
    return names


def experiment(
    *, since: _Version = _FIRST, before: _Version = _LAST, slow: bool = False
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function an experiment; the versions that it concerns, and whether it takes seconds."""

    def made(function: Callable[..., None]) -> Callable[..., None]:
        setattr(function, _MADE, Case(since=since, before=before, slow=slow))
        return function

    return made


def case(*values: object, name: str = "", **more: Any) -> Case:
    """Values for `cases` that concern some versions only, or take seconds."""
    return Case({str(number): value for number, value in enumerate(values)}, name, **more)


def cases(
    names: str | Sequence[str], values: Sequence[Any], ids: Sequence[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run an experiment once for each of these; of several lists, for each pair."""
    split = (names,) if isinstance(names, str) else tuple(names)

    def one(value: Any, name: str) -> Case:
        if not isinstance(value, Case):
            value = case(*([value] if isinstance(names, str) else value))
        given = dict(zip(split, value.values.values(), strict=True))
        name = name or value.name or "-".join(_named(each) for each in given.values())
        return Case(given, name, value.since, value.before, value.slow)

    def made(function: Callable[..., None]) -> Callable[..., None]:
        listed = [one(v, i) for v, i in itertools.zip_longest(values, ids, fillvalue="")]
        setattr(function, _CASES, [*getattr(function, _CASES, []), listed])
        return function

    return made


def _named(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_named, value))
    return str(getattr(value, "value", value)).encode("unicode_escape").decode("ascii")[:40]


def _joined(own: Case, chosen: Sequence[Case]) -> Case:
    values = {name: value for each in chosen for name, value in each.values.items()}
    every = (own, *chosen)
    return Case(
        values,
        ", ".join(each.name for each in chosen if each.name),
        max(each.since for each in every),
        min(each.before for each in every),
        slow=any(each.slow for each in every),
    )


def experiments_of(module: ModuleType | Mapping[str, Any]) -> list[Experiment]:
    """The experiments of a fact's module, in the order in which they stand there."""
    names = module if isinstance(module, Mapping) else vars(module)
    found = []
    for name, function in names.items():
        own = getattr(function, _MADE, None)
        if not isinstance(own, Case):
            continue
        listed = getattr(function, _CASES, [])
        every = tuple(_joined(own, chosen) for chosen in itertools.product(*listed))
        claim = inspect.cleandoc(function.__doc__ or name.replace("_", " ")).split("\n\n")[0]
        found.append(Experiment(name, " ".join(claim.split()), function, every))
    return found


@dataclass(frozen=True)
class _Resource:
    """What a function makes for experiments; it yields it, or returns it."""

    function: Callable[..., Any]
    kept: bool


def resource(*, kept: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Make a function the source of what experiments take by its name.

    Args:
        kept: It is made once for all experiments of a process.
    """
    return lambda function: _Resource(function, kept)


_kept: dict[Callable[..., Any], Any] = {}
_kept_open = contextlib.ExitStack()


@dataclass
class Bench:
    """Runs experiments, and takes away what they started."""

    target: Any = field(default_factory=QemuTarget)

    def run(self, what: Experiment, given: Case) -> None:
        """Run one with the values of a case.

        Raises:
            NotRun: It needs what is not here.
            Exception: Anything else: it is not as the fact tells (`outcome`).
        """
        with contextlib.ExitStack() as after:
            values = dict(given.values)
            self._call(what.function, values, after)

    def _call(
        self, function: Callable[..., Any], values: dict[str, Any], after: contextlib.ExitStack
    ) -> Any:
        wanted = inspect.signature(function).parameters
        arguments = {name: self._value(name, function, values, after) for name in wanted}
        return function(**arguments)

    def _value(
        self,
        name: str,
        function: Callable[..., Any],
        values: dict[str, Any],
        after: contextlib.ExitStack,
    ) -> Any:
        if name not in values:
            values[name] = self._made(name, function, values, after)
        return values[name]

    def _made(
        self,
        name: str,
        function: Callable[..., Any],
        values: dict[str, Any],
        after: contextlib.ExitStack,
    ) -> Any:
        if name == "target":
            return self.target
        if name == "qemu":
            return after.enter_context(contextlib.closing(QemuTarget()))
        if name == "tmp_path":
            return after.enter_context(new_folder())
        made = function.__globals__.get(name)
        if not isinstance(made, _Resource):
            raise TypeError(f"{function.__name__} wants {name}, which nothing gives it")
        if not made.kept:
            return self._entered(made.function, values, after)
        if made.function not in _kept:
            _kept[made.function] = self._entered(made.function, {}, _kept_open)
        return _kept[made.function]

    def _entered(
        self, function: Callable[..., Any], values: dict[str, Any], after: contextlib.ExitStack
    ) -> Any:
        result = self._call(function, values, after)
        if inspect.isgenerator(result):
            return after.enter_context(contextlib.contextmanager(lambda: result)())
        return result


@contextlib.contextmanager
def new_folder() -> Iterator[Path]:
    """A folder with a short path, for sockets too; it goes with what is in it."""
    path = Path(tempfile.mkdtemp(prefix="sp-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def close_kept() -> None:
    """Take away what was kept for all experiments of this process."""
    _kept.clear()
    _kept_open.close()
