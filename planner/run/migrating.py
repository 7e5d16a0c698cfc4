"""What saves, loads and undo have in common that is about QEMU's migration: its settings, and its error.

From 10.0 on QEMU remembers why its last migration failed, and takes every `snapshot-load` for failed as
long as it does: when the disks are reverted (fact 65).  What makes it forget is the next migration, and
one that is begun into a socket of ours, as slow as can be, and cancelled at once will do: the guest is
not stopped, no file is made, hardly a page is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from planner.model.migration import ORDINARY, Setting
from planner.model.replies import MigrationInfo, migration_of
from planner.program.resolution import Settings
from planner.program.settings import settings_commands
from planner.run.actions import SINK, AwaitEvent, ErrorReply, Flow, Response, Returned, Send
from planner.run.conversation import Conversation
from planner.run.waits import ENDED_MIGRATION

__all__ = ["forget_error", "put_settings"]

_SINK_NAME = "snapplan-sink"
_SLOW_BYTES_PER_S = 4096
_TRIES = 3
_POLLS = 600
_POLL_S = 0.05
_STOPS = "pause-before-switchover"
_NOT_BEFORE = "mapped-ram"
"""A capability that came before QEMU minded an error: a QEMU that lacks it does not mind."""


def put_settings(
    context: Conversation,
    capabilities: Sequence[tuple[str, bool]],
    parameters: Sequence[tuple[str, Setting]],
) -> Flow[str]:
    """Make migration settings these; both commands may be sent twice.

    Returns:
        Why QEMU refuses it; empty: it is done.
    """
    why = ""
    for command, arguments in settings_commands(capabilities, parameters):
        response = yield from context.answer(Send(command, arguments))
        if isinstance(response, ErrorReply):
            why = response.description
    return why


def forget_error(context: Conversation) -> Flow[tuple[str, str]]:
    """Have QEMU forget the error of its last migration; the guest runs on, or stands as it does.

    Returns:
        Why it has not, and why its settings are not as they were; empty: it has, or never minded, and
        they are.
    """
    if not migration_of(_value((yield from context.answer(Send("query-migrate"))))).error:
        return "", ""
    capabilities = _pairs((yield from context.answer(Send("query-migrate-capabilities"))))
    if _NOT_BEFORE not in dict(capabilities):
        return "", ""
    found = yield from _as_slow_as_can_be(context, capabilities)
    why = yield from put_settings(context, found.capabilities, found.parameters)
    error = why
    for _ in range(_TRIES if not why else 0):
        error = yield from _begin_and_cancel(context)
        if not error:
            break
    refused = yield from put_settings(context, found.capabilities_before, found.parameters_before)
    return error, refused


def _as_slow_as_can_be(
    context: Conversation, capabilities: list[tuple[str, bool]]
) -> Flow[Settings]:
    """All off, but for what stops it before its end, should it ever get there."""
    wanted: dict[str, Setting] = {**ORDINARY, "max-bandwidth": _SLOW_BYTES_PER_S}
    parameters = _value((yield from context.answer(Send("query-migrate-parameters"))))
    found = parameters if isinstance(parameters, dict) else {}
    off = [(name, on) for name, on in capabilities if on is not (name == _STOPS)]
    unlike = [
        (name, found[name]) for name in wanted if found.get(name, wanted[name]) != wanted[name]
    ]
    return Settings(
        capabilities=tuple((name, not on) for name, on in off),
        capabilities_before=tuple(off),
        parameters=tuple((name, wanted[name]) for name, _ in unlike),
        parameters_before=tuple(unlike),
    )


def _begin_and_cancel(context: Conversation) -> Flow[str]:
    """Begin a migration and cancel it; what QEMU remembers then."""
    response = yield from context.answer(Send("getfd", {"fdname": _SINK_NAME}, descriptor=SINK))
    if isinstance(response, ErrorReply):
        return response.description
    begun = yield from context.answer(Send("migrate", {"uri": f"fd:{_SINK_NAME}"}))
    yield from _until(
        context, lambda status: status != "setup"
    )  # cancelled in there it would be another failure
    yield from context.answer(Send("migrate_cancel"))
    now = yield from _until(context, ENDED_MIGRATION.__contains__)
    if isinstance(begun, ErrorReply):  # else it took the descriptor over
        yield from context.answer(Send("closefd", {"fdname": _SINK_NAME}))
    if now.status not in ENDED_MIGRATION:
        return "it does not end"
    return begun.description if isinstance(begun, ErrorReply) and now.error else now.error


def _until(context: Conversation, reached: Callable[[str], bool]) -> Flow[MigrationInfo]:
    """The migration once it has got there; should it not, as it is after a long wait."""
    now = migration_of(_value((yield from context.answer(Send("query-migrate")))))
    for _ in range(_POLLS):
        if reached(now.status):
            break
        yield AwaitEvent(_POLL_S)
        now = migration_of(_value((yield from context.answer(Send("query-migrate")))))
    return now


def _pairs(response: Response) -> list[tuple[str, bool]]:
    value = _value(response)
    entries = value if isinstance(value, list) else []
    return [(str(e["capability"]), e["state"] is True) for e in entries if isinstance(e, dict)]


def _value(response: Response) -> object:
    return response.value if isinstance(response, Returned) else {}
