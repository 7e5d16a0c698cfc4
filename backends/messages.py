"""Messages of a QMP peer, read so that an odd one is an error of the connection and never one of ours.

Rules: a peer may be anything that answers at a socket, and a guest agent is the guest's own.  What is no
JSON object of UTF-8 text, nests too deeply, holds numbers that Python does not read or half a surrogate
pair, or has an id that no command of ours has, is no QMP.  A line is bounded, so that memory is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable

from qemu.qmp import Message
from qemu.qmp.error import ProtocolError

__all__ = ["LINE_LIMIT_BYTES", "read_line", "read_message", "read_whole"]

LINE_LIMIT_BYTES = 32 * 1024 * 1024
"""A reply grows with disks and snapshots: two thousand disks make some three megabytes."""

_SHOWN_BYTES = 60
_HALF_A_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


async def read_line(line: Awaitable[bytes]) -> bytes:
    """A line of the peer's.

    Raises:
        ProtocolError: It is longer than the reader's limit.
    """
    try:
        return await line
    except ValueError as error:  # what asyncio makes of a line over its limit
        raise ProtocolError("the peer sent a line that is too long") from error


async def read_whole(read: Callable[[], Awaitable[bytes]]) -> bytes:
    """A message of the peer's: a line, or what QEMU's ``-qmp-pretty`` spreads over several.

    Raises:
        ProtocolError: It is longer than a line may be.
    """
    line = await read_line(read())
    if line.strip() != b"{":
        return line
    lines, size = [line], len(line)
    while line.rstrip() != b"}":  # what is inside is indented
        line = await read_line(read())
        lines.append(line)
        size += len(line)
        if size > LINE_LIMIT_BYTES:
            raise ProtocolError("the peer sent a message that is too long")
    return b"".join(lines)


def read_message(line: bytes) -> Message:
    """The message in a line.

    Raises:
        ProtocolError: It is no message.
    """
    try:
        value = json.loads(line.decode(), parse_constant=_no_constant)
        if _HALF_A_PAIR.search(line):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"the peer sent {_shown(line)}, {_why(error)}") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"the peer sent {_shown(line)}, which is no object")
    for key in ("id", "event"):
        if not isinstance(value.get(key, ""), str):
            raise ProtocolError(f"the peer sent {_shown(line)}, whose {key} is no text")
    return Message(value, eager=False)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "which nests too deeply"
    if isinstance(error, UnicodeError):
        return "which is no UTF-8 text"
    if isinstance(error, json.JSONDecodeError):
        return "which is no JSON"
    return "which has a number that is none, or too long"


def _shown(line: bytes) -> str:
    """The beginning of it; ASCII, whatever it is."""
    more = "..." if len(line) > _SHOWN_BYTES else ""
    return f"{line[:_SHOWN_BYTES].decode('ascii', 'backslashreplace')!r}{more}"
