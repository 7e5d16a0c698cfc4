"""QMP over a command's standard input and output; the address is the command."""

import asyncio
import itertools
import json
import shlex
from collections import deque

from snapplan.backend import CannotConnect, CommandRefused, ConnectionLost, Event, NoReply

LINE_LIMIT_BYTES = 64 * 1024 * 1024


async def connect(address):
    backend = StdioBackend(shlex.split(address))
    await backend.connect(10.0)
    return backend


class StdioBackend:
    """Its VM's files may be another machine's, so there are neither images nor a host."""

    images = host = peer_pid = None

    def __init__(self, command):
        self._command = command
        self._process = None
        self._reader = None
        self._ids = itertools.count()
        self._waiting = {}
        self._events = deque()
        self._news = asyncio.Event()

    async def connect(self, timeout_s):
        await self.close()
        pipe = asyncio.subprocess.PIPE
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=pipe, stdout=pipe, limit=LINE_LIMIT_BYTES
            )
            async with asyncio.timeout(timeout_s):
                greeting = await self._process.stdout.readline()
        except (OSError, TimeoutError, ValueError) as error:
            await self.close()
            raise CannotConnect(f"{self._command}: {error}", code="nobody-listens") from error
        if b"QMP" not in greeting:
            await self.close()
            raise CannotConnect(f"{self._command} does not speak QMP", code="not-qmp")
        self._reader = asyncio.create_task(self._read(self._process.stdout))
        try:
            await self.execute("qmp_capabilities", {}, timeout_s)
        except (CommandRefused, ConnectionLost, NoReply) as error:
            await self.close()
            raise CannotConnect(f"{self._command}: {error}", code="not-qmp") from error

    async def _read(self, stream):
        try:
            while line := await stream.readline():
                self._take(json.loads(line))
        except (OSError, ValueError):
            pass
        self._process.terminate()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionLost("the command ended"))
        self._news.set()

    def _take(self, message):
        if "event" in message:
            at = message["timestamp"]
            at_us = at["seconds"] * 1_000_000 + at["microseconds"]
            self._events.append(Event(message["event"], message.get("data", {}), at_us))
            self._news.set()
            return
        future = self._waiting.get(message.get("id"))
        if future is None or future.done():
            return
        if "error" in message:
            error = message["error"]
            future.set_exception(CommandRefused(error["class"], error["desc"]))
        else:
            future.set_result(message["return"])

    @property
    def _open(self):
        return self._reader is not None and not self._reader.done()

    async def execute(self, command, arguments, timeout_s):
        if not self._open:
            raise ConnectionLost("not connected")
        number = next(self._ids)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"execute": command, "arguments": dict(arguments), "id": number}
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            raise NoReply(f"no reply to {command} within {timeout_s} s") from error
        finally:
            del self._waiting[number]

    async def execute_with_descriptor(self, command, arguments, descriptor, timeout_s):
        del command, arguments, descriptor, timeout_s
        raise CommandRefused("GenericError", "no descriptor goes through a command's input")

    async def wait_for_event(self, timeout_s):
        self._news.clear()
        if self._events:
            return
        if not self._open:
            raise ConnectionLost("not connected")
        try:
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        except TimeoutError as error:
            raise NoReply("no event") from error
        if not self._events:
            raise ConnectionLost("the command ended")

    def pending_events(self):
        taken = tuple(self._events)
        self._events.clear()
        return taken

    async def close(self):
        process, self._process = self._process, None
        reader, self._reader = self._reader, None
        if process is None:
            return
        if reader is not None:
            reader.cancel()
            await asyncio.wait({reader})
        if process.returncode is None:
            process.kill()
        await process.wait()
