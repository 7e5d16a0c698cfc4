"""Deletes one snapshot of an image by id and name, through a QEMU that has no guest.

qemu-img cannot: it takes a name, and deletes the first of it.  QMP can, so a QEMU is started on a
machine that is none, stopped, with the image as its only node, and asked over its standard input.  It
takes the image's lock, so an image that somebody has open is left alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping

from backends.by_descriptor import name_of
from backends.nodes import encrypted_node, image_node, secret_options
from backends.tied import tied
from planner.model.image_key import Key
from planner.run.ports import NoReply

__all__ = ["delete_by_id"]

_TIMEOUT_S = 120.0
_NODE = "image"


async def delete_by_id(image: int, name: str, snapshot_id: str, key: Key | None = None) -> None:
    """Delete the snapshot of that id and name from a qcow2 image that no QEMU has open.

    Args:
        image: The image's descriptor.
        name: The snapshot's tag.
        snapshot_id: Its id.
        key: What opens the image, where it is encrypted.

    Raises:
        NoReply: It is not deleted, or nobody knows whether it is.
    """
    process = await _start(image, key)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            await _answer(process)  # the greeting
            await _execute(process, "qmp_capabilities", {})
            which = {"device": _NODE, "id": snapshot_id, "name": name}
            await _execute(process, "blockdev-snapshot-delete-internal-sync", which)
            await _execute(process, "quit", {})
            await process.communicate()
    except TimeoutError as error:
        raise NoReply(f"the helper QEMU did not end within {_TIMEOUT_S:g} s") from error
    except (OSError, ValueError) as error:  # ValueError: a line without an end
        raise NoReply(f"the helper QEMU ended: {error}") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _binary() -> str:
    chosen = os.environ.get("SNAPPLAN_QEMU")
    found = chosen or shutil.which("qemu-system-x86_64") or shutil.which("qemu-system-aarch64")
    if not found:
        raise NoReply(
            "several snapshots have that name, qemu-img would delete the wrong one, and there is no "
            "QEMU here that could delete by id (its path goes into SNAPPLAN_QEMU)"
        )
    return found


async def _start(image: int, key: Key | None) -> Process:
    opened = encrypted_node(image_node(name_of(image), "qcow2", ()), key)
    node = {**opened, "node-name": _NODE}
    arguments = ["-machine", "none", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio"]
    arguments += secret_options("-object", () if key is None else (key,))
    arguments += ["-blockdev", json.dumps(node)]
    program = _binary()
    try:
        return await asyncio.create_subprocess_exec(
            *tied([program, *arguments]),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            process_group=0,
            pass_fds=(image,),
        )
    except OSError as error:
        raise NoReply(f"{program} cannot be started: {error.strerror}") from error


async def _execute(process: Process, command: str, arguments: Mapping[str, object]) -> None:
    if process.stdin is None:
        raise NoReply("the helper QEMU has no input")
    message = {"execute": command, "arguments": dict(arguments)}
    process.stdin.write(json.dumps(message).encode() + b"\n")
    await process.stdin.drain()
    while True:
        answer = await _answer(process)
        if "error" in answer:
            raise NoReply(f"QEMU says: {answer['error'].get('desc')}")
        if "return" in answer:
            return


async def _answer(process: Process) -> dict[str, dict[str, str]]:
    if process.stdout is None or process.stderr is None:
        raise NoReply("the helper QEMU has no output")
    line = await process.stdout.readline()
    if not line:
        said = (await process.stderr.read()).decode(errors="replace").strip().splitlines()
        raise NoReply(said[-1] if said else "the helper QEMU ended")
    try:
        answer: dict[str, dict[str, str]] = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise NoReply("the helper QEMU speaks no QMP") from error
    return answer
