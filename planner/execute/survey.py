"""Asks a VM everything that its facts hold.  Changes nothing in the VM."""

from __future__ import annotations

from collections.abc import Generator
from typing import cast

from planner.compile.schema import reachable
from planner.errors import CannotConnect, Problem
from planner.execute.actions import NoAnswer, Response, Returned, Send, Turned
from planner.model.facts import Facts
from planner.model.replies import Replies, facts_from_replies

__all__ = ["survey"]

Asking = Generator[Send, Response, object]


def survey() -> Generator[Send, Response, Facts]:
    """Ask for the facts; the VM is the same afterwards.

    Raises:
        CannotConnect: The VM does not answer, or not in the shape that QMP says.
    """
    version = yield from _ask("query-version")
    schema = yield from _ask("query-qmp-schema")
    block_jobs = yield from _ask("query-block-jobs")
    # The graph is an unstable interface, and only needed to see which disks a job uses.
    graph = (yield from _ask_if_known("x-debug-query-block-graph")) if block_jobs else None
    return facts_from_replies(
        Replies(
            version=version,
            schema=_schema(schema),
            block_jobs=block_jobs,
            block_graph=graph,
            machine=(yield from _ask("qom-get", path="/machine", property="type")),
            target=(yield from _ask_if_known("query-target")),
            name=(yield from _ask_if_known("query-name")),
            uuid=(yield from _ask_if_known("query-uuid")),
            jobs=(yield from _ask("query-jobs")),
            migrate=(yield from _ask("query-migrate")),
            capabilities=(yield from _ask_if_known("query-migrate-capabilities")),
            parameters=(yield from _ask_if_known("query-migrate-parameters")),
            memory=(yield from _ask_if_known("query-memory-size-summary")),
            block=(yield from _ask("query-block")),
            blockstats=(yield from _ask("query-blockstats")),
            named_block_nodes=(yield from _ask("query-named-block-nodes", flat=True)),
            status=(yield from _ask("query-status")),
        )
    )


def _schema(reply: object) -> tuple[dict[str, object], ...]:
    if not isinstance(reply, list) or not all(isinstance(entry, dict) for entry in reply):
        problem = Problem("reply-malformed", "query-qmp-schema", "it is no list of objects")
        raise CannotConnect(problem.words, problems=(problem,), code=problem.code)
    try:
        return cast("tuple[dict[str, object], ...]", reachable(reply))
    except (KeyError, TypeError) as error:
        problem = Problem("reply-malformed", "query-qmp-schema", f"an entry lacks {error}")
        raise CannotConnect(problem.words, problems=(problem,), code=problem.code) from error


def _ask(command: str, **arguments: object) -> Asking:
    response = yield Send(command, arguments)
    if isinstance(response, Returned):
        return response.value
    words = response.description if isinstance(response, Turned) else response.why
    why = f"no usable answer to {command}: {words}"
    problem = Problem("query-failed", command, why, "is another client connected to this socket?")
    raise CannotConnect(why, problems=(problem,), code=problem.code)


def _ask_if_known(command: str) -> Asking:
    response = yield Send(command)
    if isinstance(response, NoAnswer):
        raise CannotConnect(f"no answer to {command}: {response.why}", code="query-failed")
    return response.value if isinstance(response, Returned) else None
