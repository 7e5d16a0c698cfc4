"""One QMP connection, from QEMU's side: greeting, negotiation, commands, events.

Theory: qemu.qmp's `AsyncProtocol` moves messages between a stream and two tasks; this is its server
side.  An outbound message is the bytes of one line.  After each command the session waits until its
answer is out, so a client that sends and never reads stops being read, as with QEMU.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol, cast

from qemu.qmp.protocol import AsyncProtocol

from backends.simulator.descriptors import DescriptorSocket, TakenDescriptor
from backends.simulator.json_stream import JsonProblem, JsonStream
from backends.simulator.log import log_entry, refused_entry
from backends.simulator.vm import Delivery, Message, SimulatedVm
from planner.semantics import QmpError, check_command, schema_of

__all__ = ["SessionOwner", "Session"]

_CHUNK_BYTES = 65536
_MOST_UNSENT = 10_000
_MEMBERS = frozenset({"execute", "exec-oob", "arguments", "id"})


class SessionOwner(Protocol):
    """What a session needs from the simulator that it belongs to."""

    vm: SimulatedVm

    log: Callable[[Message], None]

    def publish(self, messages: tuple[Message, ...], *, but: Session) -> None:
        """Send events to every other session."""

    def vm_died(self) -> None:
        """QEMU is gone: everything closes."""


class Session(AsyncProtocol[bytes]):
    """One connected client."""

    def __init__(self, host: SessionOwner, *, name: str, limit_bytes: int) -> None:
        super().__init__(name, readbuflen=_CHUNK_BYTES)
        self._called = name
        profile = host.vm.state.profile
        self._host = host
        self._stream = JsonStream(positions=profile.json_error_position, limit_bytes=limit_bytes)
        self._inbound: deque[object | JsonProblem] = deque()
        self._negotiated = False
        self._oob = False
        self._encoded: dict[int, tuple[object, bytes]] = {}
        self._socket: DescriptorSocket | None = None

    async def serve(self, connected: socket.socket) -> None:
        """Talk to one client until either side ends it."""
        self._socket = DescriptorSocket(connected)
        await self.connect(self._socket)
        try:
            while self.runstate.name == "RUNNING":
                await self.runstate_changed()
        finally:
            await self._end()

    async def _end(self) -> None:
        """Finish the tasks of the connection, whoever ended it and however."""
        self.drop()
        while not self._outgoing.empty():  # else the base class waits for a client that is gone
            self._outgoing.get_nowait()
            self._outgoing.task_done()
        with contextlib.suppress(EOFError, OSError):
            await self.disconnect()

    def publish(self, messages: tuple[Message, ...]) -> None:
        """Queue events; they go to negotiated clients only."""
        if not self._negotiated or self.runstate.name != "RUNNING":
            return
        if self._outgoing.qsize() > _MOST_UNSENT:
            self.drop()
            return
        for message in messages:
            self._outgoing.put_nowait(_line(message))

    def drop(self) -> None:
        """Cut the connection without a word."""
        if self._writer is not None:
            self._writer.transport.abort()

    # --- AsyncProtocol's hooks -----------------------------------------------------------

    def _cb_outbound(self, msg: bytes) -> bytes:
        return msg  # the base class would format every message for a log that nobody reads

    def _cb_inbound(self, msg: bytes) -> bytes:
        return msg

    async def _establish_session(self) -> None:
        profile = self._host.vm.state.profile
        major, minor, micro = profile.version
        qemu = {"micro": micro, "minor": minor, "major": major}
        version = {"qemu": qemu, "package": profile.package}
        await self._send(_line({"QMP": {"version": version, "capabilities": ["oob"]}}))
        await super()._establish_session()

    async def _do_recv(self) -> bytes:
        reader = cast("asyncio.StreamReader", self._reader)
        chunk = await reader.read(_CHUNK_BYTES)
        if not chunk:
            raise EOFError
        return chunk

    def _do_send(self, msg: bytes) -> None:
        cast("asyncio.StreamWriter", self._writer).write(msg)

    async def _send(self, msg: bytes) -> None:
        await super()._send(msg)
        await cast("asyncio.StreamWriter", self._writer).drain()

    async def _on_message(self, msg: bytes) -> None:
        for value in self._stream.feed(msg):
            await self._answer(value)
            await self._outgoing.join()

    # --- one command -------------------------------------------------------------------------

    async def _answer(self, value: object | JsonProblem) -> None:
        if isinstance(value, JsonProblem):
            self._host.log(refused_entry(self._called, None, value.text))
            self._reply_error(QmpError("GenericError", value.text), {})
            return
        command_id = {"id": value["id"]} if isinstance(value, dict) and "id" in value else {}
        problem = self._malformed(value)
        if problem:
            self._host.log(refused_entry(self._called, value, problem))
            self._reply_error(QmpError("GenericError", problem), command_id)
            return
        message = cast("dict[str, object]", value)
        name = str(message.get("execute", message.get("exec-oob")))
        arguments = cast("Mapping[str, object]", message.get("arguments", {}))
        if not self._negotiated:
            self._negotiate(name, arguments, command_id)
            return
        refusal = self._oob_refusal(message, name) or self._descriptor_refusal(name, arguments)
        if refusal:
            self._host.log(refused_entry(self._called, message, refusal.desc))
            self._reply_error(refusal, command_id)
            return
        delivery = self._host.vm.handle(name, arguments)
        self._host.log(log_entry(self._called, message, delivery))
        await self._deliver(delivery, command_id)

    def _malformed(self, value: object) -> str:
        if not isinstance(value, dict):
            return "QMP input must be a JSON object"
        known = _MEMBERS if self._oob or not self._negotiated else _MEMBERS - {"exec-oob"}
        for member in value:
            if member not in known:
                return f"QMP input member '{member}' is unexpected"
        if "execute" in value and "exec-oob" in value:
            return "QMP input member 'execute' clashes with 'exec-oob'"
        names = [member for member in ("execute", "exec-oob") if member in value]
        if not names:
            return "QMP input lacks member 'execute'"
        if not isinstance(value[names[0]], str):
            return f"QMP input member '{names[0]}' must be a string"
        if not isinstance(value.get("arguments", {}), dict):
            return "QMP input member 'arguments' must be an object"
        return ""

    def _negotiate(self, name: str, arguments: Mapping[str, object], command_id: Message) -> None:
        if name != "qmp_capabilities":
            text = "Expecting capabilities negotiation with 'qmp_capabilities'"
            self._reply_error(QmpError("CommandNotFound", text), command_id)
            return
        refusal = check_command(self._host.vm.state, name, arguments)
        if refusal:
            self._reply_error(refusal, command_id)
            return
        self._oob = "oob" in cast("list[str]", arguments.get("enable", []))
        self._negotiated = True
        self._outgoing.put_nowait(_line({"return": {}, **command_id}))

    def _oob_refusal(self, message: Message, name: str) -> QmpError | None:
        if "exec-oob" not in message:
            return None
        schema = schema_of(self._host.vm.state.profile.name)
        if not schema.has_command(name):
            return QmpError("CommandNotFound", f"The command {name} has not been found")
        if not schema.allows_oob(name):
            return QmpError("GenericError", f"The command {name} does not support OOB")
        return None

    def _descriptor_refusal(self, name: str, arguments: Mapping[str, object]) -> QmpError | None:
        """A descriptor must have come along; QEMU looks for it before it looks at the name."""
        vm = self._host.vm
        if name not in ("getfd", "add-fd") or vm.dead or check_command(vm.state, name, arguments):
            return None
        taken = TakenDescriptor.NOTHING if self._socket is None else self._socket.take_descriptor()
        if taken is not TakenDescriptor.NOTHING:
            if name == "getfd":
                vm.note_descriptor(str(arguments["fdname"]), socket=taken is TakenDescriptor.SOCKET)
            return None
        return QmpError("GenericError", "No file descriptor supplied via SCM_RIGHTS")

    async def _deliver(self, delivery: Delivery, command_id: Message) -> None:
        self._host.publish((*delivery.before, *delivery.after), but=self)
        for event in delivery.before:
            self._outgoing.put_nowait(_line(event))
        if delivery.delay_s:
            await asyncio.sleep(delivery.delay_s)
        if delivery.raw:
            self._outgoing.put_nowait(delivery.raw)
        elif delivery.reply is not None:
            self._outgoing.put_nowait(self._encode(delivery, command_id))
        for event in delivery.after:
            self._outgoing.put_nowait(_line(event))
        if delivery.drop:
            await self._outgoing.join()
            if self._host.vm.dead:
                self._host.vm_died()
            self.drop()
            raise EOFError

    def _encode(self, delivery: Delivery, command_id: Message) -> bytes:
        reply = cast("Message", delivery.reply)
        if not delivery.shared or "return" not in reply:
            return _line({**reply, **command_id})
        body = reply["return"]
        kept = self._encoded.get(id(body))
        if kept is None or kept[0] is not body:
            if len(self._encoded) > 16:
                self._encoded.clear()
            kept = (body, json.dumps(body).encode())
            self._encoded[id(body)] = kept
        tail = b"".join(b', "id": ' + json.dumps(v).encode() for v in command_id.values())
        return b'{"return": ' + kept[1] + tail + b"}\r\n"

    def _reply_error(self, error: QmpError, command_id: Message) -> None:
        self._outgoing.put_nowait(_line({**command_id, "error": error.message()}))


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\r\n"
