"""The folder of an experiment's results: what is in it survives whatever ends the run.

    experiment.json    what the experiment is, as far as a page tells it
    experiment.yaml    the file that it was run from
    cases/ID.json      a file a case, written as soon as the case has ended
    results.json, results.csv, index.html    made from these

Rules: files 0600, each written whole or not at all.  One run at a time: the lock goes with its process.
A folder of something else is not touched, and results of another experiment are never mixed in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from attrs import asdict, frozen
from filelock import FileLock, Timeout

from planner.errors import BadInput, Problem, Refused
from planner.experiment.experiment import Case, Experiment, Kind, Value, axes_of
from planner.experiment.result import CaseResult, State, read_result, result_text
from planner.host.files import make_folder, write_whole
from planner.host.input import read_text_file

__all__ = ["About", "Folder"]

_HEAD, _SOURCE, _CASES, _LOCK = "experiment.json", "experiment.yaml", "cases", ".lock"
_FORMAT_VERSION = 1


@frozen
class About:
    """What an experiment is, as far as its results tell it.

    Attributes:
        name: What it is called.
        about: What it is to show.
        kind: What each case does.
        vary: The values of each axis, in the order of the file.
        repeat: How often each was to be run.
        seed: What their order followed from.
        cases: How many cases there are.
    """

    name: str
    about: str
    kind: Kind
    vary: Mapping[str, tuple[Value, ...]]
    repeat: int
    seed: int
    cases: int

    @classmethod
    def of(cls, experiment: Experiment, cases: int) -> About:
        """What a file says."""
        return cls(
            name=experiment.name,
            about=experiment.about,
            kind=experiment.kind,
            vary=dict(experiment.vary),
            repeat=experiment.repeat,
            seed=experiment.seed,
            cases=cases,
        )


@frozen
class Folder:
    """A folder of results.

    Attributes:
        path: Where it is.
    """

    path: Path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, where there is none, and keep it for this run.

        Raises:
            Refused: Another run uses it (``experiment-busy``), or it holds something else
                (``experiment-folder-taken``).
            BadInput: It cannot be written (``file-unwritable``).
        """
        self._check_ours()
        try:
            make_folder(self.path / _CASES)
            lock = FileLock(self.path / _LOCK, timeout=0, mode=0o600)
            lock.acquire()
        except Timeout:
            message = "another run of an experiment writes there"
            problem = Problem("experiment-busy", str(self.path), message, "wait until it has ended")
            raise Refused.of(problem) from None
        except OSError as error:
            raise _unwritable(self.path, error) from error
        try:
            yield
        finally:
            lock.release()

    def _check_ours(self) -> None:
        try:
            names = {each.name for each in self.path.iterdir()}
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unwritable(self.path, error) from error
        # A run that was killed at its very beginning leaves no head, and nothing but these.
        if _HEAD in names or names <= {_LOCK, _CASES}:
            return
        message = "it holds files, and no results of an experiment"
        remedy = "give a folder that is empty, or one that is not there yet"
        raise Refused.of(Problem("experiment-folder-taken", str(self.path), message, remedy))

    def begin(self, about: About, source: str) -> None:
        """Write what the experiment is, and the file that it is run from.

        Raises:
            BadInput: It cannot be written.
        """
        head = {"format-version": _FORMAT_VERSION, **asdict(about)}
        self.write(_SOURCE, source)
        self.write(_HEAD, json.dumps(head, indent=1) + "\n")

    def about(self) -> About:
        """What the experiment is whose results are here.

        Raises:
            BadInput: There are none.
        """
        path = str(self.path / _HEAD)
        try:
            head = json.loads(read_text_file(path))
            if head.pop("format-version") == _FORMAT_VERSION:
                kind, vary = Kind(head["kind"]), head["vary"]
                values = {axis: tuple(vary[axis]) for axis in axes_of(kind, vary)}
                return About(**{**head, "kind": kind, "vary": values})
            why = "it is of another version of snapplan"
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            why = str(error)
        problem = Problem("experiment-result-malformed", path, why or "it is no head of results")
        raise BadInput.of(problem)

    def results(self) -> dict[str, CaseResult]:
        """All results that are here, by the id of their case.

        Raises:
            BadInput: A file of them is none of ours.
        """
        found = {}
        for path in sorted((self.path / _CASES).glob("*.json")):
            result = read_result(read_text_file(str(path)), str(path))
            if result.case != path.stem:
                message = f"it is of case {result.case}"
                raise BadInput.of(Problem("experiment-result-malformed", str(path), message))
            found[result.case] = result
        return found

    def left(self, cases: Iterable[Case]) -> tuple[Case, ...]:
        """The cases that have no result yet, or came to nothing, in their order.

        Raises:
            Refused: Results of cases are here that the file does not have (``experiment-differs``).
            BadInput: A file of results is none of ours.
        """
        known, wanted = self.results(), tuple(cases)
        strange = sorted(set(known) - {case.id for case in wanted})
        if strange:
            first = known[strange[0]]
            values = ", ".join(f"{axis} {value}" for axis, value in first.settings.items())
            message = (
                f"it holds results that this experiment would not come to, {len(strange)} in all: the "
                f"file, a design or a QEMU is another now (first: {values}, round {first.round})"
            )
            problem = Problem("experiment-differs", str(self.path), message, "give another folder")
            raise Refused.of(problem)
        return tuple(case for case in wanted if _is_open(known, case))

    def keep(self, result: CaseResult) -> None:
        """Write a result; it is there after a power cut, too.

        Raises:
            BadInput: It cannot be written; all earlier results are still there.
        """
        self.write(f"{_CASES}/{result.case}.json", result_text(result))

    def write(self, name: str, text: str) -> None:
        """Write a file, whole or not at all.

        Raises:
            BadInput: It cannot be written.
        """
        try:
            write_whole(self.path / name, text)
        except OSError as error:
            raise _unwritable(self.path / name, error) from error


def _is_open(known: Mapping[str, CaseResult], case: Case) -> bool:
    return case.id not in known or known[case.id].state is State.FAILED


def _unwritable(path: Path, error: OSError) -> BadInput:
    remedy = "what was written before is still there: run it again once there is room"
    return BadInput.of(Problem("file-unwritable", str(path), error.strerror or str(error), remedy))
