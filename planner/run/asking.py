"""Asks a backend, and turns what it answers or raises into a machine's responses, once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator
from typing import TypeVar

from planner.host.places import with_places
from planner.host.write_tracking import with_write_tracking
from planner.model.facts import Facts
from planner.run.actions import ErrorReply, NoAnswer, Response, Returned, Send
from planner.run.ports import Backend, CommandRefused, ConnectionLost, NoReply
from planner.run.survey import survey

__all__ = ["answer_of", "ask_facts", "send_command"]

_Result = TypeVar("_Result")


async def ask_facts(backend: Backend) -> Facts:
    """Ask a connected VM for its facts; the VM is the same afterwards.

    Raises:
        CannotConnect: The VM does not answer, or not in the shape that QMP says.
    """
    facts = await _drive(survey(), backend)
    if backend.images is not None:
        facts = with_places(facts, backend.peer_pid)
    return with_write_tracking(facts, backend.peer_pid)


async def _drive(asking: Generator[Send, Response, _Result], backend: Backend) -> _Result:
    send = next(asking)
    while True:
        response = await send_command(backend, send)
        try:
            send = asking.send(response)
        except StopIteration as end:
            result: _Result = end.value
            return result


async def send_command(backend: Backend, send: Send) -> Response:
    """Send a command, and the questions behind it; what came of each."""
    asking = answer_of(backend.execute(send.command, send.arguments, send.timeout_s))
    if not send.then:
        return await asking
    # A task begins only once this one waits, so each question is sent after what stands before it.
    behind = [asyncio.create_task(_ask_behind(backend, send, each)) for each in send.then]
    try:
        response = await asking
        if isinstance(response, NoAnswer):
            return response
        then = tuple([await each for each in behind])
        return Returned(response.value, then) if isinstance(response, Returned) else response
    finally:
        for each in behind:
            each.cancel()


async def _ask_behind(backend: Backend, send: Send, question: Send) -> Response:
    # Its own time begins when the command before it is done with.
    timeout_s = send.timeout_s + question.timeout_s
    return await answer_of(backend.execute(question.command, question.arguments, timeout_s))


async def answer_of(asking: Awaitable[object]) -> Response:
    """What came of something that was asked; nothing is raised but a cancellation."""
    try:
        return Returned(await asking)
    except CommandRefused as refused:
        return ErrorReply(refused.error_class, refused.description)
    except ConnectionLost as lost:
        return NoAnswer(str(lost), lost=True)
    except NoReply as silent:
        return NoAnswer(str(silent), lost=False)
    except Exception as error:  # noqa: BLE001 - a backend's bug must not keep a guest paused
        return NoAnswer(f"{type(error).__name__}: {error}", lost=True)
