"""Reads machine state from an image into the QEMU that makes a template; the image is never written to.

`snapshot-load` writes to the node that it reads from (fact 91), so QEMU gets the image for reading only,
under a throw-away layer over its bytes.  Over a disk's image the layer is a file, of the owner of that
image, so that whoever QEMU runs as can open it.  An image of machine state alone is 0600 and ours: QEMU
gets it by a descriptor, and a layer in memory, as a load does (`planner.load.vmstate_node`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from planner.host.evidence import record_of
from planner.load.vmstate_node import reading_node, sets_of
from planner.parts.part import ManifestPart
from planner.program.program import DESCRIPTOR_NAME
from planner.program.resolution import temporary_path
from planner.run.ports import Backend, Host, NoReply
from planner.template.making_plan import MakingPlan

__all__ = ["asked", "layer_over", "load_held", "not_after"]

_HOST_TIMEOUT_S = 120.0
_COMMAND_TIMEOUT_S = 60.0
_LOOK_EACH_S = 0.02
_SPARE_BYTES = 2**30
"""By so much the layer is larger than the image, for what QEMU adds to it; it is sparse."""
_ALIGNED_BYTES = 2**16
_NODE = "snapplan-held"
_JOB = "snapplan-template"


def layer_over(image: str, layer: str) -> dict[str, object]:
    """The arguments of the host's `create-overlay` for a throw-away layer over an image's bytes."""
    size = record_of(image).size_bytes + _SPARE_BYTES
    size -= size % _ALIGNED_BYTES
    return {"path": layer, "base": image, "base-format": "raw", "size": size}


async def load_held(
    plan: MakingPlan, holder: ManifestPart, backend: Backend, host: Host, deadline_s: float
) -> None:
    """Have QEMU read the machine state; the node is no disk of the machine.

    Args:
        plan: What is made.
        holder: The part that holds the machine state.
        backend: QEMU; its guest does not run.
        host: Where the image is.
        deadline_s: How long QEMU may take, in seconds.

    Raises:
        CommandRefused, ConnectionLost, NoReply, HostRefused: It was not read: end that QEMU.
    """
    if plan.held_state:
        layer = {"driver": "qcow2", "file": {"driver": "file", "filename": plan.held_state}}
        node = {"driver": "qcow2", "node-name": _NODE, "file": layer, "backing": None}
        await backend.execute("blockdev-add", node, _COMMAND_TIMEOUT_S)
    else:
        await _pass_image(holder.file, backend, host)
    load = {"job-id": _JOB, "tag": plan.manifest.tag, "vmstate": _NODE, "devices": [_NODE]}
    await backend.execute("snapshot-load", load, deadline_s)
    deadline = time.monotonic() + deadline_s
    while True:
        job = next((j for j in await asked(backend, "query-jobs", {}) if j.get("id") == _JOB), {})
        if job.get("status") == "concluded":
            break
        not_after(deadline, "the machine state is not read", deadline_s)
        await asyncio.sleep(_LOOK_EACH_S)
    if job.get("error"):
        raise NoReply(str(job["error"]))
    await backend.execute("job-dismiss", {"id": _JOB}, _COMMAND_TIMEOUT_S)
    await backend.execute("blockdev-del", {"node-name": _NODE}, _COMMAND_TIMEOUT_S)


async def _pass_image(image: str, backend: Backend, host: Host) -> None:
    """Give QEMU the node by descriptors; they end with this QEMU, which makes the template only."""
    names = {"path": image, "temporary": temporary_path(image)}
    await host.do("open-vmstate-image", names, _HOST_TIMEOUT_S)
    try:
        for number, name in zip(sets_of(image), names.values(), strict=True):
            arguments = {"fdset-id": number, "opaque": DESCRIPTOR_NAME}
            await backend.execute_with_descriptor(
                "add-fd", arguments, host.descriptor(name), _COMMAND_TIMEOUT_S
            )
        node = reading_node(_NODE, *(f"/dev/fdset/{number}" for number in sets_of(image)))
        await backend.execute("blockdev-add", node, _COMMAND_TIMEOUT_S)
    finally:
        await host.do("close-vmstate-image", names, _HOST_TIMEOUT_S)


async def asked(
    backend: Backend, command: str, arguments: Mapping[str, object]
) -> tuple[Mapping[str, object], ...]:
    """The objects of a list that a command answers with; nothing where it answers otherwise."""
    reply = await backend.execute(command, arguments, _COMMAND_TIMEOUT_S)
    return (
        tuple(each for each in reply if isinstance(each, dict)) if isinstance(reply, list) else ()
    )


def not_after(deadline: float, what: str, deadline_s: float) -> None:
    """Give up once the deadline is over.

    Raises:
        NoReply: It is.
    """
    if time.monotonic() > deadline:
        raise NoReply(f"{what} after {deadline_s:g} s")
