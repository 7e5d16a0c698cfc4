"""Runs cases: one after the other here, or several at once on the workers of Dask.

Dask's `Client` is the same for processes of this machine and for a cluster of many machines.  Either way
a case is a call of `run_case`, and results come in whatever order the cases end.

Rules: no case is lost silently.  A worker that dies has its case run by another one; a case that ends
several workers is reported as failed, and so is one that nobody knows any more.  Processes of our own
speak TLS with keys that nobody else has: whoever may talk to a Dask scheduler may run code in it.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planner.errors import CannotConnect, Problem, Refused
from planner.experiment.case import run_case
from planner.experiment.experiment import Case
from planner.experiment.result import CaseResult, State, came_to_nothing
from planner.host.version import snapplan_version

__all__ = ["at_a_cluster", "in_processes", "one_by_one", "on_workers", "workers_installed"]

_LOOK_EACH_S = 0.5
_CONNECT_S = 10.0
_REMOVALS = 10
_EXTRA = "pip install 'snapplan[experiments]'"
_ANY_PORT = "127.0.0.1:0"


def one_by_one(cases: Sequence[Case]) -> Iterator[CaseResult]:
    """Run cases in this process, in their order."""
    for case in cases:
        yield run_case(case, snapplan_version())


def workers_installed() -> bool:
    """Whether Dask is here."""
    try:
        import distributed  # noqa: F401, PLC0415 - an extra
    except ImportError:
        return False
    return True


def _dask() -> Any:
    try:
        import distributed  # noqa: PLC0415 - an extra, and it takes its time
    except ImportError as error:
        message = "several at once are run by Dask, which is not installed"
        raise Refused.of(Problem("extra-missing", "dask", message, _EXTRA)) from error
    return distributed


@contextmanager
def in_processes(count: int) -> Iterator[Any]:
    """A `distributed.Client` of so many processes of this machine; they end with it.

    A worker that is stopped in the middle of a case cannot take its VM's files away: so all that they
    have in $TMPDIR is in a folder there, which goes with them.

    Raises:
        Refused: Dask is not installed.
    """
    dask = _dask()
    with _folder() as folder, _dask_config({"temporary-directory": folder}):
        cluster = dask.LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            security=True,
            dashboard_address=_ANY_PORT,  # None would be port 8787, which somebody else may have
            local_directory=folder,
            env={"TMPDIR": folder},
            silence_logs=logging.CRITICAL,
            preload=[f"{__package__}.worker"],
        )
        with cluster, dask.Client(cluster) as client:
            yield client


@contextmanager
def _folder() -> Iterator[str]:
    """A folder for the workers, with a short name: sockets are in it."""
    name = tempfile.mkdtemp(prefix="sp-")
    try:
        yield name
    finally:
        # The kernel ends what a worker has started: that may still make a file while we remove them.
        for _ in range(_REMOVALS):
            shutil.rmtree(name, ignore_errors=True)
            if not Path(name).exists():
                break
            time.sleep(_LOOK_EACH_S)


def _dask_config(values: Mapping[str, object]) -> Any:
    import dask  # noqa: PLC0415 - as above

    return dask.config.set(values)


@contextmanager
def at_a_cluster(scheduler: str) -> Iterator[Any]:
    """A `distributed.Client` of a scheduler; keys and certificates are those of Dask's configuration.

    Args:
        scheduler: Its address, as Dask has it: ``tls://HOST:PORT``, for example.

    Raises:
        Refused: Dask is not installed, or the scheduler has no workers (``workers-missing``).
        CannotConnect: Nobody answers there (``scheduler-unreachable``).
    """
    dask = _dask()
    try:
        client = dask.Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        problem = Problem("scheduler-unreachable", scheduler, why)
        raise CannotConnect.of(problem) from error
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            message, remedy = "it has no workers", "start some: dask worker ADDRESS --nthreads 1"
            raise Refused.of(Problem("workers-missing", scheduler, message, remedy))
        yield client


def on_workers(
    client: Any, cases: Sequence[Case], tell: Callable[[str], None]
) -> Generator[CaseResult, None, None]:
    """Run cases on workers; results come as they are there.  Close it before the client.

    Args:
        client: A `distributed.Client`.
        cases: What is run; workers begin with the first.
        tell: Is told what keeps the run waiting.
    """
    dask = _dask()
    run = secrets.token_hex(4)  # a scheduler of several users keeps results by these names
    waiting = {
        client.submit(
            run_case, case, snapplan_version(), key=f"snapplan-{run}-{case.id}", priority=-number
        ): case
        for number, case in enumerate(cases)
    }
    told = False
    try:
        while waiting:
            with contextlib.suppress(TimeoutError, CancelledError), client.as_current():
                dask.wait(list(waiting), timeout=_LOOK_EACH_S, return_when="FIRST_COMPLETED")
            for future in [each for each in waiting if each.done()]:
                yield _result(future, waiting.pop(future))
            alone = bool(waiting) and not client.scheduler_info(n_workers=-1).get("workers")
            if alone and not told:
                tell("no worker is there any more; the run goes on as soon as one is")
            told = alone
    finally:
        client.cancel(list(waiting), force=True)


def _result(future: Any, case: Case) -> CaseResult:
    if future.status == "finished":
        result = future.result()
        if isinstance(result, CaseResult) and result.case == case.id:
            return result
        why = f"the worker answered {str(result)[:100]!r}"
    elif future.status == "error":
        error = future.exception()
        why = (str(error).splitlines() or [""])[0] or type(error).__name__
    else:
        why = f"the scheduler does not know it any more ({future.status})"
    problem = Problem(
        "worker-failed", case.words, why, "run the experiment again: it is tried anew"
    )
    return came_to_nothing(case, (problem,), State.FAILED)
