"""What every backend must do, one function a promise: the contract of `planner.run.ports.Backend`.

Each check gets a connected backend and leaves the connection usable and the VM as it was.  It returns
nothing, or raises `AssertionError` with what was seen.  The VM should be one that nobody needs: its
guest is stopped and continued, and nothing else is done to it.  A storage daemon has no guest: there an
empty disk that goes nowhere is copied, and taken away again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from itertools import pairwise

from planner.run.ports import Backend, CommandRefused, ConnectionLost, NoReply

__all__ = ["CHECKS", "Check"]

Check = Callable[[Backend], Awaitable[None]]

_TIMEOUT_S = 30.0
_SHORT_S = 0.2
_MANY = 40
_SILENCE_S = 1.0


def _require(holds: object, seen: str) -> None:
    if not holds:
        raise AssertionError(seen)


async def answers(backend: Backend) -> None:
    """A command's reply is what QMP's ``return`` holds."""
    status = await backend.execute("query-status", {}, _TIMEOUT_S)
    _require(isinstance(status, dict) and "status" in status, f"query-status gave {status!r}")
    version = await backend.execute("query-version", {}, _TIMEOUT_S)
    _require(isinstance(version, dict) and "qemu" in version, f"query-version gave {version!r}")


async def refusals_are_refusals(backend: Backend) -> None:
    """QMP's ``error`` is `CommandRefused`, with QEMU's class and words: it was understood, not done."""
    wrong: tuple[tuple[str, dict[str, object], str], ...] = (
        ("snapplan-no-such-command", {}, "CommandNotFound"),
        ("query-version", {"snapplan-no-such-argument": 1}, "GenericError"),
    )
    for command, arguments, error_class in wrong:
        try:
            reply = await backend.execute(command, arguments, _TIMEOUT_S)
        except CommandRefused as refused:
            _require(
                refused.error_class == error_class,
                f"class {refused.error_class!r}, not {error_class!r}",
            )
            _require(refused.description, "the description is empty")
        else:
            raise AssertionError(f"{command} {arguments} gave {reply!r}")


async def replies_belong_to_their_commands(backend: Backend) -> None:
    """Several commands may be under way; each gets its own reply."""
    names = ("query-status", "query-version")
    asked = [names[number % 2] for number in range(_MANY)]
    replies = await asyncio.gather(*(backend.execute(each, {}, _TIMEOUT_S) for each in asked))
    for command, reply in zip(asked, replies, strict=True):
        key = "status" if command == "query-status" else "qemu"
        _require(isinstance(reply, dict) and key in reply, f"{command} got {reply!r}")


async def large_replies_arrive(backend: Backend) -> None:
    """The schema is more than 100 kB; so is what many disks and snapshots give."""
    schema = await backend.execute("query-qmp-schema", {}, _TIMEOUT_S)
    _require(isinstance(schema, list) and len(schema) > 100, "query-qmp-schema is not whole")


async def events_come_in_order(backend: Backend) -> None:
    """STOP and RESUME arrive, in order, with QEMU's time; each is taken once."""
    backend.pending_events()
    status = await backend.execute("query-status", {}, _TIMEOUT_S)
    running = isinstance(status, dict) and status.get("status") == "running"
    commands = ("stop", "cont") if running else ("cont", "stop")
    try:
        await backend.execute(commands[0], {}, _TIMEOUT_S)
    except CommandRefused as refused:
        if refused.error_class != "CommandNotFound":
            raise
        await _events_of_a_job(backend)
        return
    await backend.execute(commands[1], {}, _TIMEOUT_S)
    seen: list[str] = []
    times: list[int] = []
    while len(seen) < 2:
        await backend.wait_for_event(_TIMEOUT_S)
        for event in backend.pending_events():
            if event.name in ("STOP", "RESUME"):
                seen.append(event.name)
                times.append(event.timestamp_us)
    wanted = ["STOP", "RESUME"] if running else ["RESUME", "STOP"]
    _require(seen == wanted, f"{commands} gave {seen}")
    _require(all(times) and times == sorted(times), f"the events' times are {times}")
    _require(not backend.pending_events(), "an event was given twice")


async def _events_of_a_job(backend: Backend) -> None:
    """A job's states arrive, in order, each once."""
    names = ("snapplan-conformance-from", "snapplan-conformance-to")
    for name in names:
        node = {"driver": "null-co", "node-name": name, "size": 65536, "read-zeroes": True}
        await backend.execute("blockdev-add", node, _TIMEOUT_S)
    copy = {"job-id": names[0], "device": names[0], "target": names[1], "sync": "full"}
    await backend.execute("blockdev-backup", copy, _TIMEOUT_S)
    seen: list[object] = []
    times: list[int] = []
    while "null" not in seen:
        await backend.wait_for_event(_TIMEOUT_S)
        for event in backend.pending_events():
            if event.name == "JOB_STATUS_CHANGE" and event.data.get("id") == names[0]:
                seen.append(event.data.get("status"))
                times.append(event.timestamp_us)
    for name in names:
        await backend.execute("blockdev-del", {"node-name": name}, _TIMEOUT_S)
    # QEMU may pause it in between, and says so.
    kept = [seen[:1], seen[-4:]] == [["created"], ["waiting", "pending", "concluded", "null"]]
    twice = any(one == two for one, two in pairwise(seen))
    _require(kept and not twice, f"the job's states are {seen}")
    _require(all(times) and times == sorted(times), f"the events' times are {times}")


async def waiting_ends_in_time(backend: Backend) -> None:
    """Where nothing happens, waiting for an event ends with `NoReply`, not with an event."""
    backend.pending_events()
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            while True:
                await backend.wait_for_event(_SILENCE_S)
                backend.pending_events()  # somebody else's; QEMU falls silent in the end
    except NoReply:
        return
    except TimeoutError:
        raise AssertionError("waiting did not end, or QEMU never fell silent") from None


async def deadlines_leave_the_connection_usable(backend: Backend) -> None:
    """A command whose time is over is `NoReply`; its late reply is nobody else's."""
    for _ in range(5):
        with contextlib.suppress(NoReply):
            await backend.execute("query-qmp-schema", {}, 0.0)
    version = await backend.execute("query-version", {}, _TIMEOUT_S)
    _require(
        isinstance(version, dict) and "qemu" in version, f"then query-version gave {version!r}"
    )


async def cancelling_leaves_the_connection_usable(backend: Backend) -> None:
    """A command whose task is cancelled takes no other one's reply with it."""
    task = asyncio.ensure_future(backend.execute("query-qmp-schema", {}, _TIMEOUT_S))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await answers(backend)


async def descriptors_are_passed_or_refused(backend: Backend) -> None:
    """`getfd` gets the open file; where that cannot be, it is `CommandRefused` and nothing is sent."""
    name = {"fdname": "snapplan-conformance"}
    with tempfile.TemporaryFile() as file:
        try:
            await backend.execute_with_descriptor("getfd", name, file.fileno(), _TIMEOUT_S)
        except CommandRefused:
            return
        os.fstat(file.fileno())  # it is still ours
    await backend.execute("closefd", name, _TIMEOUT_S)


async def a_closed_connection_is_lost(backend: Backend) -> None:
    """After `close` every call is `ConnectionLost`, at once; `connect` makes a new connection."""
    await backend.close()
    await backend.close()
    calls: tuple[Callable[[], Awaitable[object]], ...] = (
        lambda: backend.execute("query-status", {}, _SHORT_S),
        lambda: backend.wait_for_event(_SHORT_S),
    )
    for call in calls:
        try:
            await call()
        except ConnectionLost:
            continue
        except NoReply:
            raise AssertionError("a closed connection says NoReply, as if QEMU lived") from None
        raise AssertionError("a closed connection answered")
    await backend.connect(_TIMEOUT_S)
    await answers(backend)


CHECKS: tuple[Check, ...] = (
    answers,
    refusals_are_refusals,
    replies_belong_to_their_commands,
    large_replies_arrive,
    events_come_in_order,
    waiting_ends_in_time,
    deadlines_leave_the_connection_usable,
    cancelling_leaves_the_connection_usable,
    descriptors_are_passed_or_refused,
    a_closed_connection_is_lost,
)
"""Every promise; `a_closed_connection_is_lost` is last, since a borrowed connection cannot be remade."""
